// Package archtest checks properties of the whole repository: which package may import which (imports_test.go), that
// documents refer to existing names (docs_test.go, parity_test.go), that all packages compile on other systems
// (systems_test.go), and rules for every file (files_test.go). It consists of tests.
package archtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/afgen/afgen"

// arrows lists, for each package, the packages of the project and the third-party packages that it may import. A name
// that ends in /... matches the package and all packages below it; the first matching row counts. A package without a
// row fails the test: decide first where it belongs in the layout.
var arrows = []row{
	{"cmd/afgen", []string{"gen/...", "templates", "runtime/cron", "internal/buildversion", "internal/suggest"},
		[]string{"github.com/spf13/cobra", "github.com/rogpeppe/go-internal"}},
	{"cmd/af", []string{"cmd/af/internal/cli"}, nil},
	{"cmd/af/man", []string{"cmd/af/internal/cli"}, []string{"github.com/spf13/cobra"}},
	{"cmd/af/internal/cli", []string{"cmd/af/internal/doctor", "cmd/af/internal/text", "runtime", "runtime/admin",
		"runtime/admin/adminhttp", "runtime/admin/filter", "runtime/backend/auto", "runtime/backend/embedded",
		"runtime/backend/servers",
		"runtime/config", "runtime/dashboard", "internal/buildversion", "internal/signature", "internal/suggest"},
		[]string{"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/schollz/progressbar/v3",
			"golang.org/x/term", "golang.org/x/sys"}},
	{"cmd/af/internal/oncall", []string{"cmd/af/internal/cli", "cmd/af/internal/text", "runtime", "runtime/admin",
		"runtime/admin/adminhttp"}, nil},
	{"cmd/af/internal/doctor", []string{"cmd/af/internal/text", "runtime", "runtime/admin"},
		[]string{"github.com/shirou/gopsutil/v4"}},
	{"cmd/af/internal/text", []string{"runtime"}, []string{"github.com/rivo/uniseg"}},

	{"gen", []string{"gen/..."}, []string{"golang.org/x/sync"}},
	{"gen/ir", nil, nil},
	{"gen/diag", nil, nil},
	{"gen/directive", []string{"gen/diag", "runtime/cron", "internal/suggest"}, nil},
	{"gen/scan", []string{"gen/ir", "gen/diag", "gen/directive", "gen/contract", "gen/scan/internal/...",
		"internal/suggest"},
		[]string{"golang.org/x/mod", "golang.org/x/tools"}},
	{"gen/scan/internal/buildtag", nil, nil},
	{"gen/scan/internal/pattern", nil, []string{"golang.org/x/mod"}},
	{"gen/scan/internal/load", []string{"gen/diag", "gen/scan/internal/pattern", "internal/suggest"},
		[]string{"golang.org/x/mod", "golang.org/x/tools"}},
	{"gen/manifest", nil, []string{"golang.org/x/mod"}},
	{"gen/contract", []string{"gen/ir"}, nil},
	{"gen/emit", []string{"gen/ir", "gen/contract"}, []string{"github.com/dave/jennifer"}},

	{"runtime", []string{"runtime/backend", "runtime/instrument", "runtime/internal/audit", "runtime/internal/bulk", "runtime/internal/calls",
		"runtime/internal/child", "runtime/internal/contextlog", "runtime/internal/drain", "runtime/internal/exact",
		"runtime/internal/finals", "runtime/internal/grace", "runtime/internal/guard", "runtime/internal/heartbeat",
		"runtime/internal/history", "runtime/internal/hooks", "runtime/internal/ids", "runtime/internal/interrupt",
		"runtime/internal/isolate",
		"runtime/internal/jobs", "runtime/internal/lifecycle", "runtime/internal/limits", "runtime/internal/livelog",
		"runtime/internal/machine", "runtime/internal/once", "runtime/internal/pages", "runtime/internal/pipe",
		"runtime/internal/presence", "runtime/internal/pubsub", "runtime/internal/receive", "runtime/internal/redact",
		"runtime/internal/registration", "runtime/internal/registry", "runtime/internal/resubmit",
		"runtime/internal/retry", "runtime/internal/serve", "runtime/internal/stack", "runtime/internal/submit",
		"runtime/internal/tasklog", "runtime/internal/tasks", "runtime/internal/testhook"}, nil},
	{"runtime/internal/calls", []string{"runtime/backend", "runtime/instrument", "runtime/internal/hooks",
		"runtime/internal/retry"}, []string{"golang.org/x/sync"}},
	{"runtime/internal/contextlog", nil, nil},
	{"runtime/internal/drain", nil, nil},
	{"runtime/internal/finals", []string{"runtime/backend"}, nil},
	{"runtime/internal/ids", []string{"runtime/backend", "runtime/snowflake"}, nil},
	{"runtime/internal/isolate", []string{"runtime/backend", "runtime/internal/child", "runtime/internal/grace",
		"runtime/internal/guard", "runtime/internal/pipe", "runtime/internal/retry", "runtime/internal/stack"}, nil},
	{"runtime/internal/lifecycle", []string{"runtime/backend", "runtime/internal/grace"}, nil},
	{"runtime/internal/limits", []string{"runtime/backend", "runtime/internal/presence", "runtime/internal/pubsub",
		"runtime/internal/registry", "runtime/internal/retry", "runtime/internal/tasks"}, nil},
	{"runtime/internal/once", nil, nil},
	{"runtime/internal/redact", []string{"runtime/backend", "runtime/internal/child", "runtime/internal/guard"}, nil},
	{"runtime/internal/registration", []string{"runtime/backend"}, nil},
	{"runtime/internal/registry", []string{"runtime/backend", "runtime/internal/heartbeat", "runtime/internal/presence",
		"runtime/internal/pubsub", "runtime/internal/retry", "runtime/internal/signal"}, nil},
	{"runtime/internal/resubmit", []string{"runtime/backend", "runtime/internal/ids", "runtime/internal/jobs",
		"runtime/internal/retry", "runtime/internal/tasks"}, nil},
	{"runtime/internal/serve", []string{"runtime/backend", "runtime/instrument", "runtime/internal/grace",
		"runtime/internal/guard", "runtime/internal/hooks", "runtime/internal/redact", "runtime/internal/registry", "runtime/internal/stack"}, nil},
	{"runtime/internal/submit", []string{"runtime/backend", "runtime/instrument", "runtime/internal/jobs",
		"runtime/internal/tasks"}, nil},
	{"runtime/instrument", []string{"runtime/backend"}, nil},
	{"runtime/internal/hooks", []string{"runtime/backend", "runtime/instrument", "runtime/internal/once"}, nil},
	{"runtime/internal/bulk", []string{"runtime/backend", "runtime/internal/retry"}, nil},
	{"runtime/internal/audit", []string{"runtime/backend", "runtime/internal/retry"}, nil},
	{"runtime/internal/testhook", []string{"runtime/backend"}, nil},
	{"runtime/internal/receive", []string{"runtime/backend", "runtime/instrument", "runtime/internal/grace",
		"runtime/internal/guard", "runtime/internal/hooks", "runtime/internal/retry", "runtime/internal/stack"}, nil},
	{"runtime/internal/presence", []string{"runtime/backend", "runtime/internal/machine", "runtime/internal/retry"}, nil},
	{"runtime/internal/history", []string{"runtime/backend", "runtime/internal/retry"}, nil},
	{"runtime/internal/signal", nil, nil},
	{"runtime/internal/pages", []string{"runtime/backend"}, nil},
	{"runtime/internal/retry", []string{"runtime/backend"}, nil},
	{"runtime/internal/pubsub", []string{"runtime/backend", "runtime/internal/retry"}, nil},
	{"runtime/internal/heartbeat", []string{"runtime/backend", "runtime/internal/retry", "runtime/internal/signal"}, nil},
	{"runtime/internal/interrupt", nil, nil},
	{"runtime/internal/livelog", []string{"runtime/backend", "runtime/internal/pubsub", "runtime/internal/retry",
		"runtime/internal/signal"}, nil},
	{"runtime/internal/tasklog", []string{"runtime/backend"}, nil},
	{"runtime/internal/grace", []string{"runtime/backend"}, nil},
	{"runtime/internal/tasks",
		[]string{"runtime/backend", "runtime/instrument", "runtime/internal/grace", "runtime/internal/guard",
			"runtime/internal/heartbeat", "runtime/internal/history", "runtime/internal/hooks", "runtime/internal/pubsub",
			"runtime/internal/retry", "runtime/internal/stack", "runtime/internal/signal"}, nil},
	{"runtime/internal/jobs",
		[]string{"runtime/backend", "runtime/cron", "runtime/instrument", "runtime/internal/hooks",
			"runtime/internal/retry", "runtime/internal/pubsub", "runtime/internal/signal"}, nil},
	{"runtime/internal/guard", []string{"runtime/backend", "runtime/internal/stack"}, nil},
	{"runtime/internal/pipe",
		[]string{"runtime/backend", "runtime/internal/child", "runtime/internal/guard", "runtime/internal/stack"}, nil},
	{"runtime/internal/oserror", []string{"runtime/backend"}, nil},
	{"runtime/internal/safepath", nil, nil},
	{"runtime/internal/machine", nil, nil},
	{"runtime/internal/machine/full", []string{"runtime/internal/machine"}, []string{"github.com/shirou/gopsutil/v4"}},
	{"runtime/internal/exact", nil, nil},
	{"runtime/internal/child", []string{"runtime/backend", "runtime/internal/exact"}, nil},
	{"runtime/internal/stack", []string{"runtime/backend"}, nil},
	{"runtime/admin", []string{"runtime"}, nil},
	{"runtime/admin/filter", []string{"runtime", "runtime/backend", "internal/suggest"}, nil},
	{"runtime/admin/adminhttp", []string{"runtime", "runtime/admin", "runtime/httpstatus"}, nil},
	{"runtime/dashboard", []string{"runtime", "runtime/admin", "runtime/admin/adminhttp", "runtime/admin/filter",
		"runtime/config", "runtime/cron", "runtime/httpstatus", "internal/signature"}, []string{"golang.org/x/sync"}},
	{"runtime/instrument/metric", []string{"runtime", "runtime/backend", "runtime/instrument"}, nil},
	{"runtime/executor",
		[]string{"runtime/backend", "runtime/internal/child", "runtime/internal/exact", "runtime/internal/stack"}, nil},
	{"templates", nil, nil},

	{"runtime/cron", nil, []string{"github.com/robfig/cron/v3"}},
	{"runtime/backend", nil, nil},
	{"runtime/backend/internal/appsettings", []string{"runtime/backend", "runtime/config", "runtime/logs"}, nil},
	{"runtime/backend/internal/events", []string{"runtime/backend", "runtime/internal/signal"}, nil},
	{"runtime/backend/internal/envelope", []string{"runtime/backend"}, nil},
	{"runtime/backend/internal/connstate", []string{"runtime/backend"}, nil},
	{"runtime/backend/internal/groupcommit", nil, nil},
	{"runtime/backend/internal/instant", nil, nil},
	{"runtime/backend/internal/look", []string{"runtime/backend"}, nil},
	{"runtime/backend/internal/slots", nil, nil},
	{"runtime/backend/internal/secret", nil, nil},
	{"runtime/backend/internal/surplus", nil, nil},
	{"runtime/backend/memory",
		[]string{"runtime/backend", "runtime/backend/internal/look", "runtime/backend/internal/instant", "runtime/backend/internal/events",
			"runtime/backend/internal/slots", "runtime/backend/internal/groupcommit"}, nil},
	{"runtime/backend/embedded/internal/mesh",
		[]string{"runtime/backend", "runtime/backend/internal/envelope", "runtime/backend/internal/slots",
			"runtime/internal/signal"}, nil},
	{"runtime/backend/embedded",
		[]string{"runtime/backend", "runtime/backend/internal/look", "runtime/backend/internal/instant", "runtime/backend/internal/events",
			"runtime/backend/embedded/internal/mesh", "runtime/backend/internal/surplus",
			"runtime/internal/oserror", "runtime/internal/safepath", "runtime/internal/signal"},
		[]string{"modernc.org/sqlite", "github.com/gofrs/flock", "golang.org/x/sys"}},
	{"runtime/backend/mongo",
		[]string{"runtime/backend", "runtime/backend/internal/look", "runtime/backend/internal/instant", "runtime/backend/internal/connstate",
			"runtime/backend/internal/groupcommit", "runtime/backend/internal/secret", "runtime/backend/internal/surplus"},
		[]string{"go.mongodb.org/mongo-driver/v2", "golang.org/x/sync"}},
	{"runtime/backend/amqp",
		[]string{"runtime/backend", "runtime/backend/internal/envelope", "runtime/backend/internal/connstate",
			"runtime/backend/internal/secret", "runtime/internal/signal"},
		[]string{"github.com/rabbitmq/amqp091-go"}},
	{"runtime/backend/redis",
		[]string{"runtime/backend", "runtime/backend/internal/events", "runtime/backend/internal/connstate",
			"runtime/backend/internal/secret", "runtime/internal/signal"},
		[]string{"github.com/redis/go-redis/v9"}},
	{"runtime/backend/servers",
		[]string{"runtime/backend", "runtime/backend/amqp", "runtime/backend/mongo",
			"runtime/backend/redis", "runtime/backend/internal/appsettings", "runtime/config"},
		[]string{"go.mongodb.org/mongo-driver/v2"}}, // it returns the driver's database
	{"runtime/backend/auto",
		[]string{"runtime", "runtime/backend", "runtime/backend/embedded", "runtime/backend/servers", "runtime/config",
			"runtime/backend/internal/appsettings", "runtime/internal/machine/full"}, nil},
	{"runtime/aftest",
		[]string{"runtime", "runtime/backend", "runtime/backend/memory", "runtime/internal/exact", "runtime/internal/guard",
			"runtime/internal/testhook", "internal/bubble",
			"internal/fault"}, nil}, // users simulate their handlers with the faults that the engine is simulated with
	{"runtime/health", []string{"runtime"}, nil},
	{"runtime/httpstatus", []string{"runtime/backend"}, nil},
	{"runtime/snowflake", []string{"runtime/backend", "runtime/internal/retry", "runtime/internal/signal"}, nil},
	{"runtime/logs", []string{"runtime/backend", "runtime/internal/oserror", "runtime/internal/safepath"}, nil},
	{"runtime/timefmt", []string{"runtime/backend"}, []string{"github.com/lestrrat-go/strftime"}},
	{"runtime/config", []string{"internal/suggest"}, []string{"gopkg.in/yaml.v3"}},

	{"internal/bubble", nil, nil},
	{"internal/recorder", []string{"runtime/instrument"}, nil},
	{"internal/apptest", []string{"runtime", "runtime/admin", "runtime/backend", "runtime/instrument", "internal/recorder",
		"internal/testkit"}, nil},
	{"internal/conform", []string{"runtime/backend", "internal/testkit"},
		[]string{"pgregory.net/rapid", "github.com/google/go-cmp"}},
	{"internal/fault", []string{"runtime/backend"}, nil},
	{"internal/chaos", []string{"runtime", "runtime/backend", "internal/fault", "internal/testkit", "internal/workload"},
		[]string{"go.uber.org/goleak"}},
	{"internal/latency", nil, nil},
	{"internal/mongoproxy", []string{"internal/testkit"}, []string{"go.mongodb.org/mongo-driver/v2"}},
	{"internal/snippets/...", []string{"runtime"}, nil},
	{"internal/buildversion", nil, nil},
	{"internal/signature", nil, nil},
	{"internal/suggest", nil, nil},
	{"internal/testkit", nil, nil},
	{"internal/release", nil, nil},
	{"internal/tiers", nil, nil},
	{"internal/wordlist", nil, nil},
	{"internal/workload", []string{"runtime"}, nil},
	{"internal/dependencies", nil, []string{"golang.org/x/mod"}},
	{"internal/devstack", nil, []string{"go.mongodb.org/mongo-driver/v2", "github.com/gofrs/flock"}},
	{"internal/devstack/stack", []string{"internal/devstack"}, nil},

	{"examples/orders/...", []string{"examples/orders/...", "runtime", "runtime/backend/embedded", "runtime/httpstatus"}, nil},
	{"examples/...", []string{"examples/servers/...", "runtime", "runtime/config", "runtime/backend/auto",
		"runtime/dashboard"}, nil},
}

type row struct {
	pkg     string
	imports []string // packages of this project
	modules []string // third-party modules, or packages of them
}

type pkg struct {
	ImportPath string
	Standard   bool
	GoFiles    []string
	Imports    []string
	Module     *struct{ Path string }
}

func TestEveryImportFollowsTheArrows(t *testing.T) {
	for _, problem := range checkImports(arrows, list(t, "./...")) {
		t.Error(problem)
	}
}

func TestForbiddenImportsAreFound(t *testing.T) {
	rows := []row{
		{"runtime", []string{"runtime/backend", "runtime/internal/..."}, []string{"golang.org/x/sync"}},
		{"runtime/backend", nil, nil},
		{"runtime/internal/...", []string{"runtime/backend"}, nil},
	}
	for _, tt := range []struct {
		name    string
		pkg     string
		imports []string
		want    string // part of the only problem; "" if there is none
	}{
		{"listed", "runtime",
			[]string{"context", module + "/runtime/backend", module + "/runtime/internal/tasks", "golang.org/x/sync/errgroup"},
			""},
		{"up", "runtime/internal/tasks", []string{module + "/runtime/backend", module + "/runtime"},
			"runtime/internal/tasks must not import runtime"},
		{"sideways", "runtime/internal/tasks", []string{module + "/runtime/internal/jobs"},
			"must not import runtime/internal/jobs"},
		{"driver", "runtime", []string{"modernc.org/sqlite"}, "must not import modernc.org/sqlite"},
		{"similar_name", "runtime", []string{"golang.org/x/syncx", "net/http"}, "must not import golang.org/x/syncx"},
		{"no_row", "gen", nil, "gen has no row"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := pkg{ImportPath: module + "/" + tt.pkg, GoFiles: []string{"a.go"}, Imports: tt.imports}
			got := checkImports(rows, []pkg{p, {ImportPath: module + "/tests"}})
			got = slices.DeleteFunc(got, func(problem string) bool { return strings.HasPrefix(problem, "no package matches") })
			if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	if got := checkImports(rows, nil); len(got) != len(rows) ||
		!strings.Contains(got[0], "no package matches the row of runtime") {
		t.Errorf("rows without packages: %q", got)
	}
}

// checkImports returns the violations: one line for each forbidden import, each package without a row and each row
// without a package. Packages that consist of tests may import anything.
func checkImports(rows []row, pkgs []pkg) (problems []string) {
	used := make([]bool, len(rows))
	for _, p := range pkgs {
		if len(p.GoFiles) == 0 {
			continue // tests only
		}
		name := inside(p.ImportPath)
		i := slices.IndexFunc(rows, func(r row) bool { return matches(r.pkg, name) })
		if i < 0 {
			problems = append(problems, fmt.Sprintf("package %s has no row in the table of arrows", name))
			continue
		}
		used[i] = true
		for _, imp := range p.Imports {
			if !rows[i].allows(imp) {
				problems = append(problems, fmt.Sprintf("%s must not import %s: its row does not list it", name, inside(imp)))
			}
		}
	}
	for i, r := range rows {
		if !used[i] {
			problems = append(problems, fmt.Sprintf("no package matches the row of %s", r.pkg))
		}
	}
	return problems
}

func (r row) allows(imp string) bool {
	switch host, _, _ := strings.Cut(imp, "/"); {
	case imp == module || strings.HasPrefix(imp, module+"/"):
		return slices.ContainsFunc(r.imports, func(m string) bool { return matches(m, inside(imp)) })
	case strings.Contains(host, "."):
		return slices.ContainsFunc(r.modules, func(m string) bool { return imp == m || strings.HasPrefix(imp, m+"/") })
	}
	return true // the standard library
}

// A program links only the backend that it uses: with memory no driver and no parser, with the embedded backend no
// server's driver, with the servers no SQLite. Only package auto links gopsutil.
func TestBackendLinksNoOtherBackendsDriver(t *testing.T) {
	core := []string{"golang.org/x/sync", "github.com/robfig/cron/v3"}
	for backend, allowed := range map[string][]string{
		"memory": nil,
		"embedded": {"modernc.org/...", "github.com/gofrs/flock", "golang.org/x/sys",
			// of modernc.org's:
			"github.com/dustin/go-humanize", "github.com/google/uuid", "github.com/mattn/go-isatty",
			"github.com/ncruces/go-strftime",
			"github.com/remyoudompheng/bigfft"},
		"servers": {"go.mongodb.org/mongo-driver/v2", "github.com/rabbitmq/amqp091-go",
			"github.com/redis/go-redis/v9", "gopkg.in/yaml.v3",
			// of the drivers':
			"golang.org/x/crypto", "golang.org/x/text", "golang.org/x/sys", "github.com/youmark/pkcs8",
			"github.com/klauspost/compress",
			"github.com/xdg-go/...", "go.uber.org/atomic", "github.com/cespare/xxhash/v2"},
	} {
		for _, p := range list(t, "-deps", "./runtime", "./runtime/backend/"+backend) {
			if p.Standard || p.Module == nil || p.Module.Path == module {
				continue
			}
			if !slices.ContainsFunc(slices.Concat(core, allowed), func(a string) bool { return matches(a, p.Module.Path) }) {
				t.Errorf("a program on %s links %s", backend, p.ImportPath)
			}
		}
	}
}

// inside returns the path of one of the project's packages within it, or any other path unchanged.
func inside(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

func matches(pattern, name string) bool {
	base, deep := strings.CutSuffix(pattern, "/...")
	return name == base || deep && strings.HasPrefix(name, base+"/")
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,GoFiles,Imports,Module"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pkgs []pkg
	for d := json.NewDecoder(out); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return pkgs
}
