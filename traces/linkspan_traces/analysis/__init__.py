"""What a trace says when its spans are put together: pure functions over `model.Span`."""
