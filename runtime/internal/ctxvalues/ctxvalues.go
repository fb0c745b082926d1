// Package ctxvalues combines the values of one context with the end of another. Work that one operation has caused, and
// that outlives the operation's context, keeps the operation's span and attributes of its log that way.
package ctxvalues

import "context"

// From returns ctx, which also has the values of from. Those of ctx precede. The end, its cause and the deadline are
// those of ctx.
func From(ctx, from context.Context) context.Context {
	return valued{ctx, context.WithoutCancel(from)} // else context.Cause could find the cause of from
}

type valued struct {
	context.Context
	from context.Context
}

// Value implements context.Context.
func (v valued) Value(key any) any {
	if value := v.Context.Value(key); value != nil {
		return value
	}
	return v.from.Value(key)
}
