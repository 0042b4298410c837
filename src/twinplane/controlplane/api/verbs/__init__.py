"""The verbs of the API: one function each, `Call` in, `Response` out; errors are raised as `ApiError`."""
