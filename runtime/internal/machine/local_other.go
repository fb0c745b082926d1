//go:build !linux

package machine

import "context"

func describe(context.Context) Facts { return Basics("") }

func read(context.Context) Reading { return Reading{} }
