"""The engine under the registry: tables, views, transactions, live answers. It knows no noun."""
