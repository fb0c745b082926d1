package gen_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// BenchmarkTable measures commands as users run them and prints the table of docs/generator.md. It compares afgen with
// controller-gen and go list on the same trees. Each figure is the best of several runs.
func BenchmarkTable(b *testing.B) {
	for b.Loop() { // once: see the Makefile
		bin := b.TempDir()
		run(b, ".", nil, "go", "build", "-o", bin, "github.com/afgen/afgen/cmd/afgen")
		t := &table{b: b, afgen: filepath.Join(bin, "afgen"), other: controllerGen(bin)}
		fmt.Printf("\n%s, %d cores, %s; load before: %s\n\n", runtime.Version(), runtime.NumCPU(),
			runtime.GOOS+"/"+runtime.GOARCH, load())
		fmt.Println("| types | no change | the same by `go tool` | `go list ./...` | body edit | signature edit | all new " +
			"| controller-gen | cold cache | controller-gen, cold |")
		fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
		for _, n := range []int{1, 10, 100, 1000} {
			t.row(fmt.Sprint(n), annotatedTypes(b, n, false), false)
		}
		t.row("100, mongo-driver", annotatedTypes(b, 100, true), true)
		fmt.Printf("\nMilliseconds until the command has ended (and of processor time); load after: %s\n", load())
	}
}

const controllerGenVersion = "v0.23.0"

// controllerGen installs controller-gen and returns its path, or "" if that fails.
func controllerGen(bin string) string {
	cmd := exec.Command("go", "install", "sigs.k8s.io/controller-tools/cmd/controller-gen@"+controllerGenVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Printf("\nTHE TABLE LACKS CONTROLLER-GEN, WHICH CAN'T BE INSTALLED: %v\n%s\n", err, out)
		return ""
	}
	return filepath.Join(bin, "controller-gen")
}

// load returns the load of the machine, which affects all figures.
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(data))[:3], " ")
}

type table struct {
	b            *testing.B
	afgen, other string
}

// row measures all commands on one tree.
func (t *table) row(name, dir string, coldOther bool) {
	env := []string{"GOFLAGS=", "GOWORK=off", "AFGEN_CACHE=" + t.b.TempDir()}
	generate := func() cost { return t.time(dir, env, t.afgen, "./...") }
	settle()
	generate()
	generate() // reads the files that the first one has written
	tool := func() cost { return t.time(dir, env, "go", "tool", "afgen", "./...") }
	tool()
	tool()
	settle()
	generate()

	nothing := best(20, generate)
	viaTool := best(5, tool)
	list := best(5, func() cost { return t.time(dir, env, "go", "list", "./...") })
	edited := func(from, to string) cost {
		path := filepath.Join(dir, "p0", "s0.go")
		before, err := os.ReadFile(path)
		if err != nil {
			t.b.Fatal(err)
		}
		edit := 0
		return best(5, func() cost {
			edit++ // different each time, so that the manifest doesn't match
			put(t.b, "", path, strings.ReplaceAll(string(before), from, fmt.Sprintf(to, edit)))
			settle()
			return generate()
		})
	}
	body := edited("{ID: id}", "{ID: id + \"%d\"}")
	signature := edited("n int", "n%d int")
	anew := best(3, func() cost {
		outputs, err := filepath.Glob(filepath.Join(dir, "*", "af*"))
		if err != nil {
			t.b.Fatal(err)
		}
		for _, o := range outputs {
			if err := os.Remove(o); err != nil {
				t.b.Fatal(err)
			}
		}
		return t.time(dir, append(env, "AFGEN_CACHE=off"), t.afgen, "./...")
	})
	other, cold, otherCold := "–", "", "–"
	if t.other != "" {
		other = ms(best(5, func() cost { return t.time(dir, env, t.other, "object", "paths=./...") }))
	}
	cold = ms(best(2, func() cost {
		return t.time(dir, append(env, "AFGEN_CACHE=off", "GOCACHE="+t.b.TempDir()), t.afgen, "./...")
	}))
	if t.other != "" && coldOther {
		otherCold = ms(t.time(dir, append(env, "GOCACHE="+t.b.TempDir()), t.other, "object", "paths=./..."))
	}
	cells := []string{name, ms(nothing), ms(viaTool), ms(list), ms(body), ms(signature), ms(anew), other, cold, otherCold}
	fmt.Println("| " + strings.Join(cells, " | ") + " |")
}

// A cost is the wall time of a command and the processor time of it and its child processes. On a busy machine, only
// the latter is comparable.
type cost struct{ wall, cpu time.Duration }

func ms(c cost) string { return fmt.Sprintf("%s (%s)", milliseconds(c.wall), milliseconds(c.cpu)) }

func milliseconds(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprint(d.Milliseconds())
}

// best returns the lowest of n costs, since other processes only add to it.
func best(n int, measure func() cost) cost {
	least := measure()
	for range n - 1 {
		c := measure()
		least.wall, least.cpu = min(least.wall, c.wall), min(least.cpu, c.cpu)
	}
	return least
}

// time returns the cost of a command.
func (t *table) time(dir string, env []string, name string, args ...string) cost {
	start := time.Now()
	cpu := run(t.b, dir, env, name, args...)
	return cost{time.Since(start), cpu}
}

// run returns the processor time of a command.
func run(b *testing.B, dir string, env []string, name string, args ...string) time.Duration {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// annotatedTypes creates a module that uses this one, with n services of five methods each. Each file has a service,
// and a payload for which controller-gen generates a deep copy. Each package has ten files.
func annotatedTypes(b *testing.B, n int, mongo bool) string {
	dir := b.TempDir()
	for i := range n {
		var s strings.Builder
		fmt.Fprintf(&s, "package p%d\n\nimport \"context\"\n\n// Item%d is one of many.\n//\n"+
			"// +kubebuilder:object:generate=true\n"+
			"type Item%d struct {\n\tID   string\n\tTags map[string][]string\n}\n\n"+
			"// Service%d is one of many.\n//\n//af:rpc timeout=5s\ntype Service%d struct{}\n", i/10, i, i, i, i)
		for m := range 5 {
			fmt.Fprintf(&s, "\n// Method%d does it.\n"+
				"func (s *Service%d) Method%d(ctx context.Context, id string, n int, items ...Item%d) (Item%d, error) {\n"+
				"\treturn Item%d{ID: id}, nil\n}\n", m, i, m, i, i, i)
		}
		put(b, dir, fmt.Sprintf("p%d/s%d.go", i/10, i), s.String())
	}
	if mongo {
		put(b, dir, "p0/mongo.go",
			"package p0\n\nimport \"go.mongodb.org/mongo-driver/v2/mongo\"\n\n"+
				"func connect() (*mongo.Client, error) { return mongo.Connect() }\n")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		b.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		b.Fatal(err)
	}
	text := strings.Replace(string(mod), "module github.com/afgen/afgen", "module example.com/m", 1)
	text = regexp.MustCompile(`(?s)\ntool \(.*?\n\)`).ReplaceAllString(text, "\ntool github.com/afgen/afgen/cmd/afgen")
	put(b, dir, "go.mod", text+"\nrequire github.com/afgen/afgen v0.0.0\n\nreplace github.com/afgen/afgen => "+root+"\n")
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		b.Fatal(err)
	}
	put(b, dir, "go.sum", string(sum))
	return dir
}
