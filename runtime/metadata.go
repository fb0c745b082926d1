package runtime

import (
	"context"
	"maps"
)

// Metadata is a set of names and values that travel with a call, a task or a raw message, next to its arguments. Names
// and values together have at most 8 KiB, counted in bytes; larger metadata is refused with [ErrResourceExhausted]. A
// name has at most 249 bytes. Those of tasks and messages are UTF-8, and the names have no NUL bytes.
type Metadata map[string]string

type metadataKey struct{}

// WithMetadata returns a context that adds name to the metadata of the calls that are made, the tasks and jobs that are
// submitted and the raw messages that are sent with it. The metadata of a handler's own call, task or message
// ([MetadataFrom]) is not forwarded automatically to its calls, new tasks and messages. But the subtasks, the
// SubtasksDone and the retries of a task inherit the metadata of that task; values of the context in which they are
// submitted replace inherited ones.
func WithMetadata(ctx context.Context, name, value string) context.Context {
	old, _ := ctx.Value(metadataKey{}).(Metadata)
	md := make(Metadata, len(old)+1)
	maps.Copy(md, old)
	md[name] = value
	return context.WithValue(ctx, metadataKey{}, md)
}

// MetadataFrom returns the metadata of the call, task or raw message handled by the handler that owns ctx. It returns
// nil if there is none, and outside a handler. It must not be modified.
func MetadataFrom(ctx context.Context) Metadata {
	switch h := handlingFrom(ctx); {
	case h == nil:
		return nil
	case h.raw != nil:
		return h.raw.metadata
	case h.request != nil:
		return h.request.Metadata
	case h.running != nil:
		return h.running.metadata
	}
	return nil
}

// outgoing returns the metadata of calls made and tasks submitted with ctx. It must not be modified.
func outgoing(ctx context.Context) Metadata {
	md, _ := ctx.Value(metadataKey{}).(Metadata)
	return md
}
