"""Tables of the paper: rows, training and evaluation of their networks, and summaries.

rows         rows of the tables, from configs/tables/
cells        training and evaluation of a network for one fold and one seed
measures     metrics of rows without a network, such as the rules
children     commands in child processes
plan         cells of a table, and the table of their results
scores       scores of the test videos of a cell
summary      mean, standard deviation and pooled metric of each row
differences  differences between rows, with intervals
output       Markdown, CSV and JSON files of a table
"""
