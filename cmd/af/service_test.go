package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	af "github.com/afgen/afgen/runtime"
)

// The service greeter, as generated code has it. It has what calc has not: texts, metadata and details of errors.
type (
	greeter      struct{}
	greetingArgs struct {
		Name  string `json:"name"`
		Times int    `json:"times"`
	}
	greeting struct {
		Result string `json:"result"`
	}
	quota struct {
		Left int `json:"left"`
	}
)

func (*greeter) Greet(ctx context.Context, name string, times int) (string, error) {
	if times > 7 {
		return "", af.NewError(af.ErrInvalidArgument, "too many greetings", quota{7})
	}
	return strings.Repeat(fmt.Sprintf("Hello %s%s.", name, af.MetadataFrom(ctx)["mark"]), times), nil
}

func registerGreeter(app *af.App) {
	greet := af.Method[greetingArgs, greeting]{Service: "greeter", Name: "Greet", Fingerprint: "c0ffee",
		Signature: "(name string, times int) (string)", Idempotent: true}
	af.RegisterService(app, af.Service{Name: "greeter", Type: "Greeter", Concurrency: 2}, &greeter{},
		af.Bind(&greet, func(ctx context.Context, g *greeter, in greetingArgs) (out greeting, err error) {
			out.Result, err = g.Greet(ctx, in.Name, in.Times)
			return out, err
		}))
}

// putNightly adds a job that fires no more in this decade than it is told to.
func putNightly(ctx context.Context, app *af.App) error {
	queue := af.NewVoidQueue[json.RawMessage](app, af.Worker{Name: "mail", Weight: 1})
	return queue.Schedule(ctx, "nightly", "0 3 29 2 *", json.RawMessage("null"), af.Zone("UTC"))
}
