"""Tools that come from elsewhere: files of them, and MCP servers."""
