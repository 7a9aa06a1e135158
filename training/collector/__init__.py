"""`intentd-collect`: takes in the corrections of many boxes, each exactly once, and gives them out.

Stateless processes in front of one database: PostgreSQL for fleets, SQLite for one box. Nothing
here imports a machine-learning library, and from `edge` only the errors.
"""
