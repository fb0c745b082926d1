package dashboard

import (
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/internal/signature"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

const (
	servicesOnPage = 100
	callTimeout    = 30 * time.Second
	maxCallTimeout = 5 * time.Minute
	maxFields      = 32 // of the form of a call; for more parameters it has one field for all
)

// A servicesPage is the data of the list of services.
type servicesPage struct {
	frame
	Page        af.ServicePage
	First, Next string
}

func (s *server) services(v *viewer, w http.ResponseWriter, r *http.Request) error {
	cursor := r.URL.Query().Get("c")
	page, err := v.api.Services(r.Context(), af.ServiceQuery{Limit: servicesOnPage, Cursor: cursor})
	if err != nil {
		return err
	}
	p := servicesPage{Page: page}
	p.frame = frame{viewer: v, Title: "Services", Nav: "services"}
	p.First, p.Next = pageLinks(s.link("services"), nil, cursor, page.Cursor)
	return s.render(w, http.StatusOK, "services", &p)
}

// Differ returns how many contracts the instances of a service have.
func (p *servicesPage) Differ(s af.ServiceInfo) int {
	contracts := map[string]bool{}
	for i := range s.Instances {
		contracts[s.Instances[i].Contract] = true
	}
	return len(contracts)
}

// A methodPage is the data of the page of a method.
type methodPage struct {
	frame
	S       af.ServiceInfo
	M       af.MethodInfo
	Servers []serving
	Differs bool // the contract, between instances
	Fields  []field
	OneText bool // the form has one field for all arguments
	Args    string
	Timeout string
	Reason  string
	Bad     string // what is wrong with the form
	Result  *callResult
}

// A serving is an instance that serves the service.
type serving struct {
	af.ServiceInstance
	Fingerprint string // of the method there; "" if it does not have it
}

// A field is a parameter in the form of a call.
type field struct {
	Name, Type, Kind string // Kind is line, text or bool
	Value            string
	Required         bool
}

// A callResult is the result of a call.
type callResult struct {
	Took    string
	HTML    template.HTML // the results
	Cut     bool
	Hidden  bool // the user may not see them
	Code    af.Code
	Message string
	Outcome string // of an error, in words
	Details []value
}

func (s *server) method(v *viewer, w http.ResponseWriter, r *http.Request) error {
	p, err := s.findMethod(v, r)
	if err != nil {
		return err
	}
	return s.render(w, http.StatusOK, "method", p)
}

// afterCall answers a reload of the result of a call, which is not kept.
func (s *server) afterCall(_ *viewer, w http.ResponseWriter, r *http.Request) error {
	http.Redirect(w, r, s.link("services", r.PathValue("service"), r.PathValue("method")), http.StatusSeeOther)
	return nil
}

// findMethod returns the page of the method that a request names, with an empty form.
func (s *server) findMethod(v *viewer, r *http.Request) (*methodPage, error) {
	service, method := r.PathValue("service"), r.PathValue("method")
	page, err := v.api.Services(r.Context(), af.ServiceQuery{Name: service, Limit: 1})
	if err != nil {
		return nil, err
	}
	back := s.link("services")
	if len(page.Services) == 0 {
		return nil, &changeError{af.NewError(af.ErrNotFound, "No instance of service "+clean(service)+" is running."), back}
	}
	p := &methodPage{S: page.Services[0], Timeout: callTimeout.String()}
	at := slices.IndexFunc(p.S.Methods, func(m af.MethodInfo) bool { return m.Name == method })
	if at < 0 {
		return nil, &changeError{af.NewError(af.ErrNotFound, "Service "+clean(service)+" has no method "+clean(method)+"."),
			back}
	}
	p.M = p.S.Methods[at]
	p.frame = frame{viewer: v, Title: service + "." + method, Nav: "services"}
	for _, in := range p.S.Instances {
		in := serving{ServiceInstance: in}
		if at := slices.IndexFunc(in.Methods, func(m af.MethodInfo) bool { return m.Name == method }); at >= 0 {
			in.Fingerprint = in.Methods[at].Fingerprint
		}
		p.Differs = p.Differs || in.Fingerprint != p.M.Fingerprint
		p.Servers = append(p.Servers, in)
	}
	p.Fields, p.OneText = fieldsOf(p.M.Signature)
	return p, nil
}

// fieldsOf returns the fields for the parameters of a signature, or oneText if it has too many or can't be read. The
// signature comes from the network.
func fieldsOf(sig string) (fields []field, oneText bool) {
	params, ok := signature.Parameters(sig)
	if !ok || len(params) > maxFields {
		return nil, true
	}
	seen := map[string]bool{}
	for _, p := range params {
		if seen[p.Name] {
			return nil, true
		}
		seen[p.Name] = true
		f := field{Name: p.Name, Type: p.Type, Kind: "text"}
		switch strings.TrimPrefix(p.Type, "*") {
		case "bool":
			f.Kind = "bool"
		case "string", "int", "int8", "int16", "int32", "int64", "uint", "uint8", "uint16", "uint32", "uint64", "byte",
			"rune", "float32", "float64", "time.Duration", "time.Time":
			f.Kind = "line"
		}
		f.Required = f.Kind == "line" && p.Type != "string" && !strings.HasPrefix(p.Type, "*")
		fields = append(fields, f)
	}
	return fields, false
}

// call calls a method and shows the result.
func (s *server) call(v *viewer, w http.ResponseWriter, r *http.Request) error {
	p, err := s.findMethod(v, r)
	if err != nil {
		return err
	}
	args, timeout, err := p.read(r)
	if err != nil {
		p.Bad = messageOf(err)
		return s.render(w, http.StatusBadRequest, "method", p)
	}
	begin := time.Now()
	reply, err := v.api.Call(r.Context(), admin.Call{Service: p.S.Name, Method: p.M.Name, Args: args, Timeout: timeout},
		admin.Action{Reason: p.Reason})
	if r.Context().Err() != nil { // the client has gone
		return nil
	}
	p.Result = &callResult{Took: took(time.Since(begin)), Hidden: !v.user.Has(admin.Payloads)}
	if err != nil {
		p.Result.failed(err)
	} else if !p.Result.Hidden && len(reply) > 0 {
		p.Result.HTML, p.Result.Cut = jsonTree(reply)
	}
	return s.render(w, http.StatusOK, "method", p)
}

// read reads the form of a call into the page, so that it is shown again, and returns the call's arguments and timeout.
func (p *methodPage) read(r *http.Request) (args json.RawMessage, timeout time.Duration, err error) {
	form := r.PostForm
	p.Reason, p.Timeout = strings.TrimSpace(form.Get("reason")), strings.TrimSpace(form.Get("timeout"))
	p.Args = form.Get("args")
	given := map[string]json.RawMessage{}
	for i := range p.Fields {
		f := &p.Fields[i]
		f.Value = form.Get("arg." + f.Name)
		if f.Value == "" && f.Type != "string" { // left out: the zero value
			continue
		}
		if f.Kind == "text" && !json.Valid([]byte(f.Value)) && strings.ContainsAny(f.Value[:1], "{[") {
			err = af.Errorf(af.ErrInvalidArgument, "%s is not valid JSON.", f.Name)
		}
		if f.Type == "string" { // what is typed is the text
			given[f.Name], _ = json.Marshal(f.Value)
		} else {
			given[f.Name] = signature.Argument(f.Value, f.Type)
		}
	}
	timeout, bad := time.ParseDuration(p.Timeout)
	switch {
	case err != nil:
	case bad != nil || timeout <= 0 || timeout > maxCallTimeout:
		err = af.Errorf(af.ErrInvalidArgument, "The timeout must be between 0 and %v, such as 30s.", maxCallTimeout)
	case p.OneText:
		args = json.RawMessage(strings.TrimSpace(p.Args))
		var object map[string]json.RawMessage
		if len(args) > 0 && json.Unmarshal(args, &object) != nil {
			err = af.NewError(af.ErrInvalidArgument,
				`The arguments must be a JSON object with a member for each parameter, such as {"x": 1}.`)
		}
	default:
		args, err = json.Marshal(given)
	}
	return args, timeout, err
}

// failed sets what is shown of an error.
func (c *callResult) failed(err error) {
	c.Code, c.Message = af.CodeOf(err), messageOf(err)
	e, ok := errors.AsType[*af.Error](err)
	outcome := af.OutcomeUnknown
	if ok {
		outcome = e.Outcome
	}
	c.Outcome = map[af.Outcome]string{
		af.OutcomeAnswered: "An instance answered with this error.",
		af.OutcomeNotSent:  "The call was not sent: nothing has happened.",
		af.OutcomeUnknown:  "It is unknown whether the method ran.",
	}[outcome]
	if !ok || c.Hidden {
		return
	}
	for _, d := range e.Details {
		html, cut := jsonTree(d.Value)
		c.Details = append(c.Details, value{HTML: html, Cut: cut, Detail: d.Type, Size: len(d.Value)})
	}
}
