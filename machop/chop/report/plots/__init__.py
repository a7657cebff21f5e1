"""Pictures of a search: what each shows, apart from the library that draws it."""
