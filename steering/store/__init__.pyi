from .access import UnknownUser as UnknownUser
from .audit import AuditEvent as AuditEvent
from .steering_store import SteeringStore as SteeringStore
