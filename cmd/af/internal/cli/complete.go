package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/text"
	"github.com/afgen/afgen/internal/signature"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/filter"
)

// Shells complete a line by what the system has now. They call "af __complete" with the words of the line, so the
// system is that of its flags. A completion that takes longer than completeFor, or fails, has no words.
const (
	completeFor  = time.Second
	maxCompleted = 50 // tasks or files that are offered
)

// typed is a line that is being completed.
type typed struct {
	ctx  context.Context
	api  func() (admin.API, error) // opens the system
	args []string                  // the arguments before word
	word string                    // what there is of the last word
}

// A completer returns words for the end of a line. Those that do not begin with its last word are left out later. A
// word may be followed by a tab and a description.
type completer func(l *typed) ([]string, error)

// argumentCompleters has the completers of the arguments of the commands: the last one of a command also completes all
// arguments that follow. nil completes nothing.
var argumentCompleters = map[string][]completer{
	"ps": {queueNames, nil}, "ls": {filterTerms}, "tail": {filterTerms}, "services": {serviceNames, nil},
	"fires": {jobNames, nil}, "get": {taskIDs(), nil}, "tree": {taskIDs(), nil}, "logs": {taskIDs(), nil},
	"why": {taskIDs(liveStatuses...), nil}, "wait": {taskIDs(liveStatuses...)},

	"submit": {queueNames, filesAt, nil}, "call": {methodNames, parameterNames},
	"retry": {taskIDs(af.StatusFailed, af.StatusStopped)}, "stop": {taskIDs(liveStatuses...)},
	"delete": {taskIDs(af.StatusSuccess, af.StatusFailed, af.StatusStopped)}, "run": {taskIDs(waitingStatuses...)},
	"reweigh": {nil, taskIDs(waitingStatuses...)},
	"pause":   {queueNames, nil}, "resume": {pausedQueues, nil}, "max": {queueNames, nil},
	"fire": {jobNames, nil}, "enable": {jobNames, nil}, "disable": {jobNames, nil},
}

// flagCompleters has the completers of the flags of commands, by the names of the flags.
var flagCompleters = map[string]completer{
	"where": filterTerms, "payload": filesAt, "args": filesAt, "ip": addresses, "queue": queueNames, "job": jobNames,
	"instance": instanceIDs, "status": filterValues("status"), "code": filterValues("code"),
}

// addCompletions sets the completions of all commands. Commands that have their own keep them.
func (c *invocation) addCompletions(root *cobra.Command) {
	_ = root.RegisterFlagCompletionFunc("output", // it fails if there is no such flag
		cobra.FixedCompletions([]string{"table", "wide\tall columns", "json"}, cobra.ShellCompDirectiveNoFileComp))
	for _, cmd := range root.Commands() {
		if list := argumentCompleters[cmd.Name()]; cmd.ValidArgsFunction == nil && cmd.ValidArgs == nil {
			cmd.ValidArgsFunction = c.completion(func(l *typed) ([]string, error) {
				if len(list) == 0 {
					return nil, nil
				}
				if complete := list[min(len(l.args), len(list)-1)]; complete != nil {
					return complete(l)
				}
				return nil, nil
			})
		}
		for name, complete := range flagCompleters {
			if f := cmd.Flags().Lookup(name); f != nil && f.Value.Type() != "bool" {
				_ = cmd.RegisterFlagCompletionFunc(name, c.completion(complete)) // fails if it has its own
			}
		}
	}
}

// completion returns a completer as cobra calls it. Its errors are not shown, since the line is being typed.
func (c *invocation) completion(complete completer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completeFor)
		defer cancel()
		open := func() (admin.API, error) {
			if err := c.source.check(); err != nil {
				return nil, err
			}
			return c.api(ctx)
		}
		words, err := complete(&typed{ctx, open, args, word})
		c.closeWithin(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return offered(words, word)
	}
}

// closeWithin closes the connection while ctx has not ended. Afterwards the end of the process closes it.
func (c *invocation) closeWithin(ctx context.Context) {
	if c.conn != nil && c.conn.app != nil {
		_ = c.conn.app.Shutdown(ctx) // nothing was changed
	}
	c.conn = nil
}

// offered returns those of the words that begin with a word.
func offered(words []string, word string) ([]string, cobra.ShellCompDirective) {
	directive := cobra.ShellCompDirectiveNoFileComp
	var list []string
	for _, w := range words {
		value, doc, described := strings.Cut(w, "\t")
		if !strings.HasPrefix(value, word) || value != text.Clean(value) { // or it would harm the terminal
			continue
		}
		if value != "" && strings.ContainsAny(value[len(value)-1:], "@:.=/") { // more of the word follows
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		if described {
			value += "\t" + text.Clean(doc)
		}
		list = append(list, value)
	}
	return list, directive
}

// completedFlag returns arguments, and if they complete a flag with one dash, with two, which cobra needs. It then lets
// root write the completions with one dash, too.
func completedFlag(root *cobra.Command, args []string) []string {
	if len(args) < 2 || args[0] != cobra.ShellCompRequestCmd && args[0] != cobra.ShellCompNoDescRequestCmd {
		return args
	}
	before, word := args[:len(args)-1], args[len(args)-1]
	if !strings.HasPrefix(word, "-") || strings.HasPrefix(word, "--") || strings.Contains(word, "=") {
		return args
	}
	root.SetOut(singleDash{root.OutOrStdout()})
	return append(slices.Clone(before), "-"+word)
}

// singleDash writes flags with a single dash. Cobra writes each completion by one call of Write.
type singleDash struct{ out io.Writer }

func (w singleDash) Write(p []byte) (int, error) {
	flag, ok := bytes.CutPrefix(p, []byte("--"))
	if !ok {
		return w.out.Write(p)
	}
	_, err := w.out.Write(append([]byte("-"), flag...))
	return len(p), err
}

// queuesOf returns a completer of the queues that fit.
func queuesOf(fits func(*af.QueueInfo) bool) completer {
	return func(l *typed) ([]string, error) {
		api, err := l.api()
		if err != nil {
			return nil, err
		}
		queues, err := api.Queues(l.ctx)
		var names []string
		for i := range queues {
			if q := &queues[i]; fits(q) {
				state, _ := queueState(*q)
				names = append(names, q.Name+"\t"+strings.TrimSpace(text.Count(waiting(*q))+" waiting "+state))
			}
		}
		return names, err
	}
}

var (
	queueNames   = queuesOf(func(*af.QueueInfo) bool { return true })
	pausedQueues = queuesOf(func(q *af.QueueInfo) bool { return q.Limits.Paused })
)

func jobNames(l *typed) ([]string, error) {
	api, err := l.api()
	if err != nil {
		return nil, err
	}
	page, err := api.Jobs(l.ctx, af.JobQuery{Prefix: l.word, Limit: 1000})
	names := make([]string, len(page.Jobs))
	for i, j := range page.Jobs {
		names[i] = j.ID + "\t" + j.Cron
		if j.Disabled {
			names[i] += " (disabled)"
		}
	}
	return names, err
}

func (l *typed) services() ([]af.ServiceInfo, error) {
	api, err := l.api()
	if err != nil {
		return nil, err
	}
	page, err := api.Services(l.ctx, af.ServiceQuery{Limit: 1000})
	return page.Services, err
}

func serviceNames(l *typed) ([]string, error) {
	services, err := l.services()
	var names []string
	for i := range services {
		names = append(names, services[i].Name)
	}
	return names, err
}

func methodNames(l *typed) ([]string, error) {
	services, err := l.services()
	var names []string
	for i := range services {
		for _, m := range services[i].Methods {
			names = append(names, services[i].Name+"."+m.Name+"\t"+m.Signature)
		}
	}
	return names, err
}

// parameterNames completes the parameters of a method that the line does not have yet, as NAME=.
func parameterNames(l *typed) ([]string, error) {
	if strings.Contains(l.word, "=") {
		return nil, nil
	}
	services, err := l.services()
	var names []string
	for i := range services {
		for _, m := range services[i].Methods {
			if services[i].Name+"."+m.Name != l.args[0] {
				continue
			}
			params, _ := signature.Parameters(m.Signature)
			for _, p := range params {
				has := func(arg string) bool { return strings.HasPrefix(arg, p.Name+"=") }
				if !slices.ContainsFunc(l.args[1:], has) {
					names = append(names, p.Name+"=\t"+p.Type)
				}
			}
		}
	}
	return names, err
}

// instances returns the running instances.
func (l *typed) instances() ([]af.InstanceInfo, error) {
	api, err := l.api()
	if err != nil {
		return nil, err
	}
	page, err := api.Instances(l.ctx, af.InstanceQuery{Limit: 1000})
	return page.Instances, err
}

func instanceIDs(l *typed) ([]string, error) {
	instances, err := l.instances()
	ids := make([]string, len(instances))
	for i := range instances {
		ids[i] = instances[i].ID + "\t" + instances[i].Host
	}
	return ids, err
}

func addresses(l *typed) ([]string, error) {
	instances, err := l.instances()
	var list []string
	for i := range instances {
		list = append(list, instances[i].IP+"\t"+instances[i].Host)
	}
	slices.Sort(list)
	return slices.Compact(list), err
}

// taskIDs returns a completer of the latest tasks with some statuses, or all.
func taskIDs(statuses ...af.Status) completer {
	return func(l *typed) ([]string, error) {
		api, err := l.api()
		if err != nil {
			return nil, err
		}
		q := af.TaskQuery{Statuses: statuses, Limit: maxCompleted, Bytes: 1 << 20}
		q.Filter.IDPrefix = l.word
		page, err := api.Tasks(l.ctx, q)
		var ids []string
		for i := range page.Tasks {
			if t := &page.Tasks[i]; !slices.Contains(l.args, t.ID) {
				ids = append(ids, t.ID+"\t"+t.Queue+" "+string(t.Status))
			}
		}
		return ids, err
	}
}

// filterTerms completes the last term of a filter.
func filterTerms(l *typed) ([]string, error) {
	before := l.word[:strings.LastIndexByte(l.word, ' ')+1]
	term := l.word[len(before):]
	var words []string
	var err error
	key, value, hasKey := strings.Cut(term, ":")
	if !hasKey {
		for _, k := range filter.Keys() {
			words = append(words, k.Prefix+"\t"+k.Doc)
		}
	} else {
		complete := filterValues(key)
		switch key {
		case "queue":
			complete = queueNames
		case "instance":
			complete = instanceIDs
		case "id", "source", "retry-of":
			complete = taskIDs()
		}
		comma := strings.LastIndexByte(value, ',') + 1 // of a list of statuses
		words, err = complete(&typed{l.ctx, l.api, nil, value[comma:]})
		before += key + ":" + value[:comma]
	}
	for i := range words {
		words[i] = before + words[i]
	}
	return words, err
}

// filterValues returns a completer of the values of a key of filters.
func filterValues(key string) completer {
	return func(*typed) ([]string, error) {
		for _, k := range filter.Keys() {
			if k.Name == key {
				return k.Values, nil
			}
		}
		return nil, nil
	}
}

// filesAt completes @file.
func filesAt(l *typed) ([]string, error) {
	path, ok := strings.CutPrefix(l.word, "@")
	if !ok {
		return []string{"@\ta file", "-\tthe standard input"}, nil
	}
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Clean(dir))
	var files []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), base) || strings.HasPrefix(e.Name(), ".") && base == "" {
			continue
		}
		name := "@" + dir + e.Name()
		if e.IsDir() {
			name += "/"
		}
		if files = append(files, name); len(files) == maxCompleted {
			break
		}
	}
	return files, err
}
