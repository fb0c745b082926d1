package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/modfile"

	"github.com/afgen/afgen/gen"
	"github.com/afgen/afgen/gen/manifest"
)

const (
	generatedPackages = 20
	typesInPackage    = 10 // all but one are services, the last is a worker
)

func BenchmarkGenerate(b *testing.B) {
	b.Setenv("GOFLAGS", "")
	b.Setenv("GOWORK", "off")
	b.Run("unchanged", func(b *testing.B) {
		m := newModule(b)
		b.ReportAllocs()
		for b.Loop() {
			if !m.generate(b).Unchanged {
				b.Fatal("the generator does not see that nothing has changed")
			}
		}
	})
	b.Run("edited", func(b *testing.B) {
		m := newModule(b)
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			b.StopTimer()
			m.edit(b, n)
			b.StartTimer()
			if len(m.generate(b).Changes) == 0 {
				b.Fatal("the generator does not see the edit")
			}
		}
	})
}

// A module is the generator's input, with a store of manifests.
type module struct {
	dir   string
	store manifest.Store
}

// newModule writes a module and generates its code.
func newModule(b *testing.B) *module {
	b.Helper()
	m := &module{b.TempDir(), manifest.Store(b.TempDir())}
	m.writeGoMod(b)
	for p := range generatedPackages {
		for i := range typesInPackage {
			m.write(b, sourceFile(p, i), source(p, i))
		}
	}
	settle()
	if n := len(m.generate(b).Changes); n < generatedPackages {
		b.Fatalf("%d files were generated, want one for each of %d packages at least", n, generatedPackages)
	}
	settle()
	m.generate(b) // its manifest has the output of the first run
	return m
}

// generate runs the generator and writes its output.
func (m *module) generate(b *testing.B) *gen.Plan {
	b.Helper()
	plan, err := gen.Generate(b.Context(), m.dir, []string{"./..."}, gen.Options{Manifests: m.store})
	if err != nil {
		b.Fatal(err)
	}
	if len(plan.Diagnostics) > 0 {
		b.Fatal(plan.Diagnostics)
	}
	if err := plan.Apply(); err != nil {
		b.Fatal(err)
	}
	return plan
}

// edit changes the signature of one method. Each n gives another signature.
func (m *module) edit(b *testing.B, n int) {
	b.Helper()
	m.write(b, sourceFile(0, 0), strings.ReplaceAll(source(0, 0), "n int", fmt.Sprintf("n%d int", n)))
	settle()
}

// settle waits until the files are old enough that the generator can detect changes by their times.
func settle() { <-time.After(25 * time.Millisecond) }

func (m *module) write(b *testing.B, name, text string) {
	b.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
}

// writeGoMod writes the go.mod and go.sum of a module that uses the afgen in the parent of the working directory.
func (m *module) writeGoMod(b *testing.B) {
	b.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		b.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		b.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		b.Fatal(err)
	}
	afgen := mod.Module.Mod.Path
	for _, err := range []error{
		mod.AddModuleStmt("example.com/m"), mod.AddRequire(afgen, "v0.0.0"), mod.AddReplace(afgen, "", root, ""),
	} {
		if err != nil {
			b.Fatal(err)
		}
	}
	if text, err = mod.Format(); err != nil {
		b.Fatal(err)
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		b.Fatal(err)
	}
	m.write(b, "go.mod", string(text))
	m.write(b, "go.sum", string(sum))
}

func sourceFile(p, i int) string { return fmt.Sprintf("p%d/f%d.go", p, i) }

const (
	itemCode = `// ItemI is a payload.
type ItemI struct {
	ID   string
	Tags map[string][]string
}
`
	workerCode = `
// WorkerI is a worker.
//
//af:worker name=worker_P_I
type WorkerI struct{}

// Run runs a task.
func (w *WorkerI) Run(ctx context.Context, item ItemI) error { return nil }
`
	serviceCode = `
// ServiceI is a service.
//
//af:rpc name=service_P_I timeout=5s
type ServiceI struct{}
`
	methodCode = `
// MethodM is a method.
func (s *ServiceI) MethodM(ctx context.Context, id string, n int, items ...ItemI) (ItemI, error) {
	return ItemI{ID: id}, nil
}
`
)

// source returns the file of type i in package p.
func source(p, i int) string {
	numbers := strings.NewReplacer("packageP", fmt.Sprintf("package p%d", p), "_P_I", fmt.Sprintf("_%d_%d", p, i),
		"ItemI", fmt.Sprintf("Item%d", i), "WorkerI", fmt.Sprintf("Worker%d", i),
		"ServiceI", fmt.Sprintf("Service%d", i))
	code := "packageP\n\nimport \"context\"\n\n" + itemCode
	if i == typesInPackage-1 {
		return numbers.Replace(code + workerCode)
	}
	code += serviceCode
	for m := range 5 {
		code += strings.ReplaceAll(methodCode, "MethodM", fmt.Sprintf("Method%d", m))
	}
	return numbers.Replace(code)
}
