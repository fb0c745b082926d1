package bench

import (
	"testing"
	"time"

	"github.com/afgen/afgen/bench/internal/gentree"
	"github.com/afgen/afgen/gen"
	"github.com/afgen/afgen/gen/manifest"
)

const generatedPackages = 20

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
	gentree.Tree
	store manifest.Store
}

// newModule writes a module and generates its code.
func newModule(b *testing.B) *module {
	b.Helper()
	tree, err := gentree.Write(b.TempDir(), "..", generatedPackages)
	if err != nil {
		b.Fatal(err)
	}
	m := &module{tree, manifest.Store(b.TempDir())}
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
	plan, err := gen.Generate(b.Context(), m.Dir, []string{"./..."}, gen.Options{Manifests: m.store})
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
	if err := m.Edit(n); err != nil {
		b.Fatal(err)
	}
	settle()
}

// settle waits until the files are old enough that the generator can detect changes by their times.
func settle() { <-time.After(25 * time.Millisecond) }
