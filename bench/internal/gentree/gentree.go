// Package gentree writes modules with annotated types, as input for measurements of the generator.
package gentree

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
)

// TypesInPackage is the number of annotated types in each package. All but one are services, the last is a worker.
const TypesInPackage = 10

// A Tree is a module in a directory.
type Tree struct{ Dir string }

// Write writes a module with this many packages into an empty directory. It uses the afgen in root.
func Write(dir, root string, packages int) (Tree, error) {
	t := Tree{dir}
	if err := t.writeGoMod(root); err != nil {
		return t, err
	}
	for p := range packages {
		for i := range TypesInPackage {
			if err := t.write(sourceFile(p, i), source(p, i)); err != nil {
				return t, err
			}
		}
	}
	return t, nil
}

// Edit changes the signature of one method. Each n gives another signature.
func (t Tree) Edit(n int) error {
	return t.write(sourceFile(0, 0), strings.ReplaceAll(source(0, 0), "n int", fmt.Sprintf("n%d int", n)))
}

func (t Tree) write(name, text string) error {
	path := filepath.Join(t.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// writeGoMod writes go.mod and go.sum.
func (t Tree) writeGoMod(root string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return err
	}
	mod, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		return err
	}
	afgen := mod.Module.Mod.Path
	for _, err := range []error{
		mod.AddModuleStmt("example.com/m"), mod.AddRequire(afgen, "v0.0.0"), mod.AddReplace(afgen, "", root, ""),
	} {
		if err != nil {
			return err
		}
	}
	if text, err = mod.Format(); err != nil {
		return err
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		return err
	}
	if err := t.write("go.mod", string(text)); err != nil {
		return err
	}
	return t.write("go.sum", string(sum))
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
	if i == TypesInPackage-1 {
		return numbers.Replace(code + workerCode)
	}
	code += serviceCode
	for m := range 5 {
		code += strings.ReplaceAll(methodCode, "MethodM", fmt.Sprintf("Method%d", m))
	}
	return numbers.Replace(code)
}
