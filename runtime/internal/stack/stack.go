// Package stack cuts stacks to the frames of user code and of what it called, without Go's panic frames above and
// afgen's frames below and between.
//
// A frame is the user's unless it belongs to the standard library or to afgen's runtime. afgen's tests count as
// users. Texts are in the format of [runtime.Stack]: a line with the function and one with the file.
package stack

import (
	"bytes"
	"fmt"
	"path"
	"reflect"
	goruntime "runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/afgen/afgen/runtime/backend"
)

// Bounds, in bytes.
const (
	maxValue = 4 << 10
	maxStack = 32 << 10
	maxDump  = 32 << 20 // of all goroutines
)

// A Panic is a recovered panic. All its fields are valid UTF-8 and bounded.
type Panic struct {
	Value string
	At    string // the first frame of user code, as "file.go:12 example.com/m.(*T).Run", or ""
	Stack string
}

// Recovered returns the panic with value v. Call it from the deferred function that recovered v.
func Recovered(v any) Panic {
	frames := parse(string(debug.Stack()))
	if i := slices.IndexFunc(frames, func(f frame) bool { return f.function == "panic" }); i >= 0 {
		frames = below(frames[i+1:])
	}
	return Panic{Value: backend.Text(fmt.Sprint(v), maxValue), At: here.first(frames), Stack: here.cut("", frames)}
}

// below returns frames without those of Go's runtime at the top, such as of an index out of range or a waiting
// goroutine.
func below(frames []frame) []frame {
	for len(frames) > 1 && frames[0].pkg() == "runtime" {
		frames = frames[1:]
	}
	return frames
}

// String returns the value and the position.
func (p Panic) String() string {
	if p.At == "" {
		return p.Value
	}
	return p.Value + " (at " + p.At + ")"
}

// ID returns the number of this goroutine, for [Of]. It takes microseconds.
func ID() int64 {
	var b [64]byte
	return idOf(string(b[:goruntime.Stack(b[:], false)]))
}

// Most is how many stacks of handlers are logged at a time.
const Most = 32

// Of returns the cut stacks of the running goroutines among ids. It stops the program while it writes the stacks of
// all goroutines, at most 32 MiB; goroutines beyond that are not found.
func Of(ids ...int64) map[int64]string {
	found := map[int64]string{}
	for text := range goroutines(dump()) {
		if id := idOf(text); slices.Contains(ids, id) {
			found[id] = whole(text)
		}
	}
	return found
}

// On returns the cut stacks of at most most goroutines that run a method, given by name, of a pointer receiver.
// Goroutines whose receiver the dump doesn't show are not found. It costs as much as [Of].
func On(method string, receiver any, most int) (found []string) {
	call := fmt.Sprintf("\n%s(%p", method, receiver)
	for text := range goroutines(dump()) {
		if len(found) < most && strings.Contains(text, call) {
			found = append(found, whole(text))
		}
	}
	return found
}

// Name returns the name of a function in the format of stacks.
func Name(f any) string { return goruntime.FuncForPC(reflect.ValueOf(f).Pointer()).Name() }

// dump returns the stacks of all goroutines.
func dump() []byte {
	b := make([]byte, min(max(64<<10, goruntime.NumGoroutine()<<11), maxDump))
	n := goruntime.Stack(b, true)
	if n == len(b) && n < maxDump {
		b = make([]byte, maxDump)
		n = goruntime.Stack(b, true)
	}
	return b[:n]
}

// Running returns the cut stack of the first goroutine in a dump that runs the function, such as
// "example.com/m.(*T).Run", or "".
func Running(dump []byte, function string) string {
	for text := range goroutines(dump) {
		if strings.Contains(text, "\n"+function+"(") {
			return whole(text)
		}
	}
	return ""
}

// goroutines yields the stacks in a dump.
func goroutines(dump []byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for part := range bytes.SplitSeq(dump, []byte("\n\n")) {
			if text := string(part); idOf(text) != 0 && !yield(text) {
				return
			}
		}
	}
}

// idOf returns the number in "goroutine 12 [running]:", or 0.
func idOf(text string) int64 {
	number, _, _ := strings.Cut(strings.TrimPrefix(text, "goroutine "), " ")
	id, _ := strconv.ParseInt(number, 10, 64) // 0 if it isn't a number
	return id
}

// whole cuts the stack of a goroutine and keeps its state line.
func whole(text string) string {
	header, _, _ := strings.Cut(text, "\n")
	return here.cut(header, below(parse(text)))
}

// A frame is two lines of a stack.
type frame struct {
	function string // such as "example.com/m.(*T).Run"
	file     string // including the line
	text     string
}

func parse(text string) (frames []frame) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		last := len(frames) - 1
		switch {
		case strings.HasPrefix(line, "goroutine "), line == "":
		case strings.HasPrefix(line, "created by "):
			return frames
		case strings.HasPrefix(line, "\t") && last >= 0:
			frames[last].text += "\n" + line
			frames[last].file, _, _ = strings.Cut(line[1:], " +0x")
		default:
			function := line
			if i := strings.LastIndexByte(line, '('); i > 0 {
				function = line[:i]
			}
			frames = append(frames, frame{function: function, text: line})
		}
	}
	return frames
}

// pkg returns the path of a frame's package.
func (f frame) pkg() string {
	slash := strings.LastIndexByte(f.function, '/') + 1
	name, _, _ := strings.Cut(f.function[slash:], ".")
	return f.function[:slash] + name
}

// A program determines which frames are the user's.
type program struct {
	std     string   // directory of the standard library with a slash; "" if built with -trimpath
	afgen   string   // directory of afgen's runtime
	modules []string // paths of the program's modules; only used with -trimpath
}

var here = newProgram()

func newProgram() *program {
	const std, own = "runtime/", "internal/stack/"
	p := &program{}
	if file := fileOf(goruntime.GC); strings.LastIndex(file, std) > 0 {
		p.std = file[:strings.LastIndex(file, std)]
	}
	if file := fileOf(ID); strings.LastIndex(file, own) > 0 {
		p.afgen = file[:strings.LastIndex(file, own)]
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		p.modules = append(p.modules, info.Main.Path)
		for _, m := range info.Deps {
			p.modules = append(p.modules, m.Path)
		}
	}
	return p
}

// fileOf returns the file of a function.
func fileOf(f any) string {
	pc := reflect.ValueOf(f).Pointer()
	file, _ := goruntime.FuncForPC(pc).FileLine(pc)
	return file
}

// isAfgen reports whether a frame belongs to afgen's runtime. It checks the file, because an inlined function literal
// is named after its caller.
func (p *program) isAfgen(f frame) bool {
	return p.afgen != "" && strings.HasPrefix(f.file, p.afgen) && !strings.Contains(f.file, "_test.go:")
}

// isUser reports whether a frame belongs to user code.
func (p *program) isUser(f frame) bool {
	switch {
	case f.file == "", f.function == "panic", p.isAfgen(f): // a frame without a file is the number of omitted frames
		return false
	case p.std != "" && !strings.HasPrefix(f.file, "<"): // <autogenerated>
		return !strings.HasPrefix(f.file, p.std)
	}
	pkg := f.pkg()
	first, _, _ := strings.Cut(pkg, "/")
	return first == "main" || strings.ContainsAny(first, ".%") ||
		slices.ContainsFunc(p.modules, func(m string) bool { return m != "" && within(pkg, m) })
}

func within(pkg, root string) bool {
	return pkg == root || strings.HasPrefix(pkg, root+"/")
}

// first returns the first frame of user code in short form.
func (p *program) first(frames []frame) string {
	i := slices.IndexFunc(frames, p.isUser)
	if i < 0 {
		return ""
	}
	return backend.Text(path.Base(frames[i].file)+" "+strings.ReplaceAll(frames[i].function, "%2e", "."), maxValue)
}

// cut removes afgen's frames below the first frame of user code, and everything after the last one. Without frames of
// user code it returns all.
func (p *program) cut(header string, frames []frame) string {
	if begin := slices.IndexFunc(frames, p.isUser); begin >= 0 {
		frames = slices.Concat(frames[:begin], slices.DeleteFunc(slices.Clone(frames[begin:]), p.isAfgen))
		for !p.isUser(frames[len(frames)-1]) {
			frames = frames[:len(frames)-1]
		}
	}
	var b strings.Builder
	b.WriteString(header)
	for _, f := range frames {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(f.text)
	}
	return backend.Text(b.String(), maxStack)
}
