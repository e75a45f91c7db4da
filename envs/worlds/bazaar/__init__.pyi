from .catalogue import Catalogue as Catalogue
from .catalogue import build_catalogue as build_catalogue
from .generate import UserRecords as UserRecords
from .generate import generate_bazaar as generate_bazaar
from .generate import stream_users as stream_users
from .items import CatalogueItem as CatalogueItem
from .personas import Persona as Persona
