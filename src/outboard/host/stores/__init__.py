"""Object stores behind one port: local paths, `s3://`, `gs://`, `az://` and `memory://`.

* `port` says what a store promises: objects by URI, whole or not at all, with conditional writes by tag;
* `stores` finds the place of a URI and turns whatever goes wrong into `StoreUnavailable`, with the place and the remedy;
* `buckets` keeps the promises with obstore, for the clouds and in memory;
* `paths` keeps them with files, between all processes of one machine.

Credentials and endpoints come from the environment, as the clouds' own tools read them (docs/stores.md). obstore is
imported when the first bucket is opened; local paths do without it.
"""

from outboard.host.stores.port import Store, Stored
from outboard.host.stores.stores import SCHEMES, Stores, join_uri

__all__ = ["SCHEMES", "Store", "Stored", "Stores", "join_uri"]
