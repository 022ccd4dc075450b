"""Forms of the result for others: the merged model, and GGUF with a Modelfile."""
