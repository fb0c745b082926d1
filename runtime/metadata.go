package runtime

import (
	"context"
	"maps"

	"github.com/afgen/afgen/runtime/backend"
)

// Metadata is a set of names and values that travel with the arguments of a call. Its total size is at most 8 kB.
type Metadata map[string]string

type metadataKey struct{}

// WithMetadata returns a context that adds name to the metadata of calls made with it. The metadata of a handler's own
// call ([MetadataFrom]) is not forwarded automatically.
func WithMetadata(ctx context.Context, name, value string) context.Context {
	old, _ := ctx.Value(metadataKey{}).(Metadata)
	md := make(Metadata, len(old)+1)
	maps.Copy(md, old)
	md[name] = value
	return context.WithValue(ctx, metadataKey{}, md)
}

// MetadataFrom returns the metadata of the call handled by the handler that owns ctx, or nil outside the handler of a
// call. It must not be modified.
func MetadataFrom(ctx context.Context) Metadata {
	if h := handlingFrom(ctx); h != nil && h.request != nil {
		return h.request.Metadata
	}
	return nil
}

// outgoing returns the metadata of calls made with ctx.
func outgoing(ctx context.Context) Metadata {
	md, _ := ctx.Value(metadataKey{}).(Metadata)
	return md
}

// checkMetadata returns an error if metadata is too large or has no name.
func checkMetadata(mds ...map[string]string) *Error {
	size := 0
	for _, md := range mds {
		for name, value := range md {
			if name == "" {
				return NewError(ErrInvalidArgument, "metadata with an empty name")
			}
			size += len(name) + len(value)
		}
	}
	if size > backend.MaxMetadata {
		return Errorf(ErrResourceExhausted, "the metadata is %d bytes; at most %d are allowed", size, backend.MaxMetadata)
	}
	return nil
}
