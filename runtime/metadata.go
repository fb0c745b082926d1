package runtime

import (
	"context"
	"maps"

	"github.com/afgen/afgen/runtime/backend"
)

// Metadata is what travels beside the arguments of a call: names and values, 8 kB together at most.
type Metadata map[string]string

type metadataKey struct{}

// WithMetadata returns a context whose calls carry name, besides what ctx carries already. A handler's own metadata
// ([MetadataFrom]) is not passed on by itself.
func WithMetadata(ctx context.Context, name, value string) context.Context {
	old, _ := ctx.Value(metadataKey{}).(Metadata)
	md := make(Metadata, len(old)+1)
	maps.Copy(md, old)
	md[name] = value
	return context.WithValue(ctx, metadataKey{}, md)
}

// MetadataFrom returns the metadata of the call that a handler handles; nil outside of one and where there is none. It
// must not be modified.
func MetadataFrom(ctx context.Context) Metadata {
	if h := handlingFrom(ctx); h != nil && h.request != nil {
		return h.request.Metadata
	}
	return nil
}

// outgoing returns the metadata that calls made with ctx carry.
func outgoing(ctx context.Context) Metadata {
	md, _ := ctx.Value(metadataKey{}).(Metadata)
	return md
}

// checkMetadata bounds what travels in the envelope.
func checkMetadata(mds ...map[string]string) *Error {
	size := 0
	for _, md := range mds {
		for name, value := range md {
			if name == "" {
				return NewError(ErrInvalidArgument, "metadata without a name")
			}
			size += len(name) + len(value)
		}
	}
	if size > backend.MaxMetadata {
		return Errorf(ErrResourceExhausted, "%d bytes of metadata; at most %d are allowed", size, backend.MaxMetadata)
	}
	return nil
}
