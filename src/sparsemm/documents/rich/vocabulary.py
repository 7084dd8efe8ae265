"""The fixed words of richer pages. All splits use them; which stand together is drawn for each split apart."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST = _words(
    "Anna Ben Carla David Emma Felix Grace Hugo Ines James Kira Leo Maria Noah Olga Paul Quinn Rosa Sam Tina Uwe Vera "
    "Will Xenia Yara Zoe Adam Bella Chris Diana Erik Fiona George Helen Ivan Jane Karl Lucy Max Nina Oscar Petra"
)
LAST = _words(
    "Adler Berg Cook Dietz Evans Fox Gray Hill Irwin Jones King Lopez Moore Novak Olsen Perez Quist Reed Stone Turner "
    "Ulrich Vogel Weber Young Zimmer Baker Clark Dunn Ellis Ford Grant Hayes Jung Klein Lang Mason Nash Owens Price"
)
CITIES = _words(
    "Oslo Paris Rome Lima Cairo Delhi Tokyo Berlin Madrid Vienna Dublin Prague Lisbon Athens Boston Quebec Zurich "
    "Geneva Turin Bergen Malmo Leeds York Bern Graz Porto Lyon Ghent Basel Kiel"
)
COUNTRIES = _words(
    "Norway France Italy Peru Egypt India Japan Spain Austria Ireland Greece Canada Chile Kenya Ghana Cuba"
)
STREETS = _words(
    "Oak Park Mill Lake High Church Station Garden Bridge River Market School Forest Hill Castle Elm Pine Rose"
)
JOBS = _words("Baker Nurse Teacher Pilot Driver Farmer Painter Doctor Clerk Cook Judge Tailor Singer Guide")
MONTHS = _words("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec")
LONG_MONTHS = _words("January February March April May June July August September October November December")
DAYS = _words("Mon Tue Wed Thu Fri Sat Sun")
LONG_DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
COLOURS = _words("red blue green black white brown yellow purple pink grey")
TEAMS = _words("Lions Tigers Eagles Bears Wolves Hawks Sharks Foxes Bulls Owls Ravens Cobras")
SHOPS = _words(
    "Market Bakery Cafe Books Garage Flowers Pharmacy Kiosk Deli Tools Toys Shoes Bikes Music Hotel"
)
GOODS = _words(  # one of them: "How much is the milk?"
    "Milk Bread Butter Cheese Coffee Tea Sugar Salt Rice Pasta Soup Juice Honey Jam Flour Yogurt Ham Fish Soap "
    "Candle Pen Paper Glue Brush Lamp Chair Towel Cup Plate Spoon Basket Rope Bucket Hammer Ladder Mirror Clock Radio"
)
COUNTED = _words(  # several of them: "How many apples were bought?"
    "Apples Pears Plums Lemons Onions Carrots Eggs Nuts Beans Grapes Cherries Melons Figs Dates Rolls Cakes Pens "
    "Books Cups Nails Bulbs Seeds Stamps Tickets Boxes Bottles"
)
DEPARTMENTS = _words(
    "North South East West Paper Wood Glass Steel Wool Cotton Gas Oil Coal Wind Solar Rail Road"
)

ADJECTIVES = _words(
    "old young small large quiet loud happy tired brave clever hungry lazy wild gentle proud strange round bright "
    "dusty dark cold warm heavy light long short broken new golden wooden empty full"
)
ANIMALS = _words(
    "dog cat fox bird horse cow goat sheep duck mouse bear wolf rabbit donkey spider turtle frog crow snail lion"
)
PEOPLE = _words(
    "farmer teacher sailor painter doctor child neighbour singer king queen driver guest judge hunter"
)
THINGS = _words(
    "kite boat book lamp hat coat drum map key box letter basket chair table clock bottle stone flag rope bell ladder "
    "mirror candle picture ring"
)
PLACES = (
    "under the bridge",
    "near the river",
    "behind the house",
    "in the garden",
    "on the hill",
    "at the harbour",
    "in the forest",
    "by the window",
    "on the roof",
    "across the road",
    "beside the lake",
    "in the kitchen",
    "at the station",
    "near the old mill",
    "under the table",
)
STILL = _words("sleeps waits sits rests stands hides plays works sings eats reads walks")
STILL_PLURAL = _words("sleep wait rest stand hide play walk")
DONE = _words("bought sold found lost made painted carried dropped borrowed repaired wanted saw")
ORDERS = (
    "close the door",
    "wash your hands",
    "turn off the light",
    "keep the gate shut",
    "bring a warm coat",
)
