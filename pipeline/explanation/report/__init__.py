"""HTML pages of explained videos.

page       the report page of a video
gallery    the gallery page, which lists the videos of an output folder, and its entries
timeline   layout of the timeline of the tokens of a window
drawing    frames with the boxes of a token
rendering  rendering of templates with a content security policy
templates/ templates of the pages, with their styles and scripts
"""
