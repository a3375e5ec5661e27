"""What is known of each token besides its id: one byte of flags per token, stored beside the ids.

An annotator (`plmjax.data.annotation`) finds the bits while a corpus is prepared; layouts add what
only they know; maskings read them to put whole words, phrases, entities or sentences under one
mask. Every bit says "a unit begins at this token": a unit lasts until the next token with the same
bit, so flags can be cut anywhere and only the first unit of a cut lacks its beginning.
"""

# A word begins here: by the form of the token, or, for Chinese, by the segmenter.
WORD = 1
# A phrase begins here: the longest match of the user's dictionary, and every word outside of them.
PHRASE = 2
# An entity begins here: the same, with the user's second dictionary.
ENTITY = 4
# The word that begins here begins with a capital letter, as the text was before any lower-casing;
# only in stores that were prepared to keep it. It says something of a word, not where a unit is.
CAPITAL = 16
# A sentence begins here. Not stored: plans know it from the store's offsets of sentences.
SENTENCE = 8
# Put there by the layout ([CLS], [SEP], an end of document): no text, never masked. Such a byte is
# exactly this.
SPECIAL = 128
