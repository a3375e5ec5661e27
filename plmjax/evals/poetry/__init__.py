"""How poems of a model compare with those of people: form, rhyme, tones, variety, copying."""
