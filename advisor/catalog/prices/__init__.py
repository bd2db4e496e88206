"""What providers asked, on which day: one JSON file a provider; `offers()` answers, the user's own file wins.

`refresh.py` reads the providers' lists anew into the user's data folder.
"""

from advisor.catalog.prices.price_lookup import cheapest as cheapest
from advisor.catalog.prices.price_lookup import offers as offers
from advisor.catalog.prices.price_lookup import override_path as override_path
from advisor.catalog.prices.price_lookup import prices as prices
