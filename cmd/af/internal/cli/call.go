package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/internal/signature"
	"github.com/afgen/afgen/internal/suggest"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

func (c *invocation) callCommand() *cobra.Command {
	var args string
	var timeout time.Duration
	var metadata []string
	cmd := &cobra.Command{
		Use: "call SERVICE.METHOD [NAME=VALUE...]", Short: "Call a method of a service",
		Long: `Call calls a method on one of the instances that serve it, and prints its results: a JSON object
with a member for each. af services lists services, methods and their parameters.

VALUE is JSON. If it is not valid JSON, or the parameter is a string, it is a text. All parameters
are needed; -args can leave some out, which are zero then.`,
		Example: `  af call calc.Div x=17 y=5
  af call users.Find 'filter={"name": "ann"}' limit=10 -timeout 5s
  af call users.Import -args @users.json -md tenant=7`,
		Args: cobra.MinimumNArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		call := admin.Call{Timeout: timeout}
		// The names of services and methods have no dots, but a name from elsewhere may.
		dot := strings.LastIndexByte(given[0], '.')
		if dot <= 0 || dot == len(given[0])-1 {
			return fmt.Errorf("%q: want SERVICE.METHOD, such as calc.Div", given[0])
		}
		call.Service, call.Method = given[0][:dot], given[0][dot+1:]
		if timeout < 0 {
			return fmt.Errorf("-timeout %v is negative", timeout)
		}
		var err error
		if call.Metadata, err = parsePairs("md", metadata); err != nil {
			return err
		}
		if args != "" {
			if len(given) > 1 {
				return errors.New("-args and NAME=VALUE can't be combined")
			}
			if call.Args, err = c.readJSON(cmd.Context(), "-args", args); err != nil {
				return err
			}
			if !bytes.HasPrefix(call.Args, []byte("{")) {
				return errors.New("-args is not a JSON object, with a member for each parameter")
			}
		}
		return c.call(cmd.Context(), call, given[1:])
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&args, "args", "", "all arguments as a `JSON` object, @file, or - for the standard input")
	fs.DurationVar(&timeout, "timeout", 0, "limit of the call (default 30s)")
	fs.StringArrayVar(&metadata, "md", nil, "metadata `NAME=VALUE` for the handler; may be repeated")
	return cmd
}

// call makes a call with the arguments of call.Args, or else with pairs such as "x=17".
func (c *invocation) call(ctx context.Context, call admin.Call, pairs []string) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	method, err := findMethod(ctx, api, call)
	if err != nil {
		return err
	}
	if call.Args == nil {
		if call.Args, err = callArguments(call, method, pairs); err != nil {
			return err
		}
	}
	reply, err := api.Call(ctx, call, c.action("", false))
	if err != nil {
		return c.callFailed(method, err)
	}
	return c.printJSON(reply)
}

// findMethod returns the method of a call, or nil if it can't be found out whether it exists.
func findMethod(ctx context.Context, api admin.API, call admin.Call) (*af.MethodInfo, error) {
	page, err := api.Services(ctx, af.ServiceQuery{Name: call.Service, Limit: 1})
	if err != nil {
		return nil, nil //nolint:nilerr // the call itself reports what is wrong
	}
	if len(page.Services) == 0 {
		return nil, af.Errorf(af.ErrUnavailable, "no instance of service %q is running%s", call.Service,
			runningServices(ctx, api, call.Service))
	}
	methods := page.Services[0].Methods
	if len(methods) == 0 { // not known yet
		return nil, nil
	}
	i := slices.IndexFunc(methods, func(m af.MethodInfo) bool { return m.Name == call.Method })
	if i >= 0 {
		return &methods[i], nil
	}
	names := make([]string, len(methods))
	for i, m := range methods {
		names[i] = m.Name
	}
	hint := "it has " + nameList(names)
	if near, ok := suggest.Nearest(call.Method, names); ok {
		hint = fmt.Sprintf("did you mean %s.%s?", call.Service, near)
	}
	return nil, af.Errorf(af.ErrUnimplemented, "service %q has no method %q: %s", call.Service, call.Method, hint)
}

// runningServices returns what an error tells about the services that are running instead of another one.
func runningServices(ctx context.Context, api admin.API, service string) string {
	page, err := api.Services(ctx, af.ServiceQuery{Limit: 1000})
	if err != nil || len(page.Services) == 0 {
		return ""
	}
	names := make([]string, len(page.Services))
	for i := range page.Services {
		names[i] = page.Services[i].Name
	}
	if near, ok := suggest.Nearest(service, names); ok {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return "; running are " + nameList(names)
}

// nameList returns names in a sentence, at most 20.
func nameList(names []string) string {
	const most = 20
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

// callArguments returns the arguments of a call as a JSON object. method is nil if the parameters are unknown.
func callArguments(call admin.Call, method *af.MethodInfo, pairs []string) (json.RawMessage, error) {
	var params []signature.Parameter
	if method != nil {
		var ok bool
		if params, ok = signature.Parameters(method.Signature); !ok { // as another version of afgen writes it
			method = nil
		}
	}
	target := call.Service + "." + call.Method
	given := map[string]json.RawMessage{}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("argument %q: want NAME=VALUE", pair)
		}
		p := signature.Parameter{Name: name}
		if method != nil {
			// Like encoding/json, ignore case.
			i := slices.IndexFunc(params, func(p signature.Parameter) bool { return strings.EqualFold(p.Name, name) })
			if i < 0 {
				return nil, unknownParameter(target, name, method.Signature, params)
			}
			p = params[i]
		}
		if _, twice := given[p.Name]; twice {
			return nil, fmt.Errorf("argument %s is given twice", p.Name)
		}
		given[p.Name] = signature.Argument(value, p.Type)
	}
	for _, p := range params {
		if _, ok := given[p.Name]; !ok && !p.Optional() {
			return nil, fmt.Errorf("argument %s is missing: the parameters of %s are %s", p.Name, target,
				inParens(method.Signature))
		}
	}
	return json.Marshal(given)
}

func unknownParameter(target, name, sig string, params []signature.Parameter) error {
	names := make([]string, len(params))
	for i, p := range params {
		names[i] = p.Name
	}
	hint := "its parameters are " + inParens(sig)
	if len(params) == 0 {
		hint = "it has none"
	} else if near, ok := suggest.Nearest(name, names); ok {
		hint = "did you mean " + near + "?"
	}
	return fmt.Errorf("%s has no parameter %q: %s", target, name, hint)
}

// inParens returns the parameters of a signature as it spells them.
func inParens(sig string) string {
	elements, _ := signature.Elements(sig) // it has been read before
	return "(" + strings.Join(elements, ", ") + ")"
}

// callFailed prints the error of a call. The answer of a handler, whatever its code, is a problem that was found: the
// command was used rightly and the system is available.
func (c *invocation) callFailed(method *af.MethodInfo, err error) error {
	e, ok := errors.AsType[*af.Error](err)
	if !ok {
		return err
	}
	answered := e.Outcome == af.OutcomeAnswered
	if answered {
		c.code = exitProblem
		c.note("%v", err)
	}
	for _, d := range e.Details {
		c.note("  %s %s", d.Type, d.Value)
	}
	switch {
	case answered:
		return nil
	case e.Outcome == af.OutcomeNotSent:
	case method != nil && method.Idempotent:
		c.note("the method may have run. It is idempotent, so it can be called again")
	default:
		c.note("the method may have run: call it again only if that does no harm")
	}
	return err
}
