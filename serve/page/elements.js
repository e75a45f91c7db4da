// Making elements: whatever comes from elsewhere is text, never markup.

export const find = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function show(element, text) {
  element.textContent = text;
  element.hidden = !text;
}

export const say = (text) => show(find("said"), text);
