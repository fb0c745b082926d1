package traces

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	afotel "github.com/afgen/afgen/otel"
	af "github.com/afgen/afgen/runtime"
)

// One trace leads from an HTTP request through submit, process, call and subtask to SubtasksDone. With ChildWithin 0
// each attempt begins one, and is linked.
func TestOneTrace(t *testing.T) {
	for _, tt := range []struct {
		name     string
		options  []afotel.Option
		children bool
		worker   af.Worker
	}{
		{"children", nil, true, job},
		{"links", []afotel.Option{afotel.ChildWithin(0)}, false, job},
		{"children_in_process", nil, true, child},
		{"links_in_process", []afotel.Option{afotel.ChildWithin(0)}, false, child},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, s system) {
				f := observe(t, s, tt.options...)
				client := f.start(t, nil, nil)
				f.start(t, nil, func(app *af.App) {
					serve(app)
					af.RegisterWorker(app, tt.worker, newWorker(app))
					af.RegisterVoidWorker(app, photo, &photos{})
				})
				var id string
				handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					var err error
					if id, err = af.NewQueue[string, int](client, tt.worker).Submit(r.Context(), "fans_out"); err != nil {
						t.Error(err)
					}
				})
				front := otelhttp.NewHandler(handler, "", otelhttp.WithTracerProvider(f.tracers),
					otelhttp.WithSpanNameFormatter(func(string, *http.Request) string { return "POST /" }))
				front.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil))
				_, err := client.WaitTree(t.Context(), id)
				must(t, err)
				want := traces(tt.worker.Name, tt.children)
				var got []string
				within(t, "all spans", func() bool {
					got = f.paths()
					return len(got) >= len(want)
				})
				if !slices.Equal(got, want) {
					t.Errorf("the spans are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
				task, err := client.GetTask(t.Context(), id)
				must(t, err)
				if request := f.ended()[0]; len(task.Trace) != 55 || task.Trace[3:35] != request.Trace {
					t.Errorf("the task has the trace %q, the request %s", task.Trace, request.Trace)
				}
				f.endedOnce()
			})
		})
	}
}

// traces returns the spans of a request: each below its ancestors, with its link.
func traces(queue string, children bool) []string {
	inside := "" // what the handler does is observed by the process that it runs in
	if queue == child.Name {
		inside = "@child"
	}
	request := "POST / server"
	submit := request + " > submit " + queue + " producer"
	process, done := "process "+queue+" consumer", "process "+queue+" consumer of SubtasksDone"
	if children {
		process, done = submit+" > "+process, submit+" > "+done
	}
	call := process + " > orders/Get client" + inside
	sub := process + " > submit photo producer" + inside
	last := "process photo consumer"
	if children {
		last = sub + " > " + last
	}
	created := ", creation: submit " + queue + " producer"
	all := []string{request, submit, process + created, done + created, call, call + " > orders/Get server", sub,
		last + ", creation: submit photo producer" + inside}
	slices.Sort(all)
	return all
}

// paths returns all spans: each below its ancestors in its trace, with its links.
func (f *fixture) paths() (all []string) {
	byID := map[string]span{}
	for _, s := range f.ended() {
		byID[s.Trace+s.ID] = s
	}
	for _, s := range byID {
		path := label(s)
		for up := s; up.Parent != ""; {
			parent, ok := byID[s.Trace+up.Parent]
			if !ok {
				path = "? > " + path
				break
			}
			path, up = label(parent)+" > "+path, parent
		}
		for _, l := range s.Links {
			path += ", " + l.Kind + ": " + label(byID[l.Trace+l.ID])
		}
		all = append(all, path)
	}
	slices.Sort(all)
	return all
}

func label(s span) string {
	l := s.Name + " " + s.Kind
	if s.Attributes["af.task.done_of"] != "" {
		l += " of SubtasksDone"
	}
	if s.Child {
		l += "@child"
	}
	return l
}
