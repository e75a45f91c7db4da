from .audit import AuditEvent as AuditEvent
from .steering_store import SteeringStore as SteeringStore
from .steering_store import UnknownUser as UnknownUser
from .steering_store import population_of as population_of
