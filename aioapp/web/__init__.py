"""HTTP: how requests come in and how answers, streams and errors go out."""
