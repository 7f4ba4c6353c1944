"""What both ends of the session contract agree on beyond what a `.proto` can say.

The limits and grammars of its fields, the JSON-RPC envelope inside `Post.message`, and how an
`ErrorReason` travels as a gRPC status. Above lie `linkspan_session` and `linkspan_worker`; below
lie the generated code and nothing else of Linkspan.
"""
