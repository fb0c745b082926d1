package emit

import (
	"slices"

	"github.com/dave/jennifer/jen"

	"github.com/afgen/afgen/gen/ir"
)

// queueOf returns the runtime's queue type for k, or with the prefix New its constructor, with type arguments.
func (w *writer) queueOf(k worker, prefix string) *jen.Statement {
	if k.Result == nil {
		return jen.Add(w.af(prefix + "VoidQueue")).Types(w.typeElement(&k.Payload).code)
	}
	return jen.Add(w.af(prefix+"Queue")).Types(w.typeElement(&k.Payload).code, w.typeElement(k.Result).code)
}

func (w *writer) queue(k worker) declaration {
	about := comment("%s submits and tracks tasks of queue %s, which worker %s runs.",
		k.queue(), k.Name, w.original(k.Type))
	typ := jen.Type().Id(k.queue()).Add(structOf(w.queueOf(k, "")))
	return slices.Concat(declaration{about}, paragraph(k.Doc), declaration{typ})
}

func (w *writer) newQueue(k worker) declaration {
	tasks := w.tasksParam(k)
	queue := w.queueOf(k, "New").Call(jen.Id(tasks), jen.Id(k.helper))
	return declaration{
		comment("%s returns queue %s over %s, usually an *%s, without doing I/O.",
			k.newQueue(), k.Name, tasks, w.qualify(runtimePath, "App")),
		jen.Func().Id(k.newQueue()).Params(jen.Id(tasks).Add(w.af("TaskClient"))).Op("*").Id(k.queue()).
			Block(jen.Return(jen.Op("&").Id(k.queue()).Values(queue))),
	}
}

// tasksParam returns the name of newQueue's parameter. It differs from the names of the user's types, which the body
// mentions.
func (w *writer) tasksParam(k worker) string {
	taken := scope{}
	take := func(t ir.Type) {
		switch {
		case t.Kind == ir.Named && t.Path != w.Path:
			taken.take(w.imports[t.Path])
		default:
			taken.take(t.Name)
		}
	}
	k.Payload.Walk(take)
	if k.Result != nil {
		k.Result.Walk(take)
	}
	return taken.pick("t", "tasks")
}

func (w *writer) registerWorker(k worker) declaration {
	register := "RegisterWorker"
	if k.Result == nil {
		register = "RegisterVoidWorker"
	}
	return declaration{
		comment("%s registers w with r to run tasks of queue %s; opts override the directive. Errors, such as a "+
			"nil w, are reported by Start.", k.register(), k.Name),
		jen.Func().Id(k.register()).
			Params(jen.Id("r").Add(w.af("Registrar")), jen.Id("w").Op("*").Id(k.Type),
				jen.Id("opts").Op("...").Add(w.af("WorkerOption"))).
			Block(jen.Add(w.af(register)).Call(jen.Id("r"), jen.Id(k.helper), jen.Id("w"), jen.Id("opts").Op("..."))),
	}
}

// workerValue declares the description of k that both sides need, without options that have their default value.
func (w *writer) workerValue(k worker) declaration {
	var fields []jen.Code
	add := func(present bool, name string, value jen.Code) {
		if present {
			fields = append(fields, w.field(name, value))
		}
	}
	add(true, "Name", jen.Lit(k.Name))
	add(true, "Type", jen.Lit(k.Type))
	add(true, "Signature", jen.Lit(w.description(workerMethods(k)[0])))
	add(true, "Max", jen.Lit(k.Max))
	add(k.Timeout != 0, "Timeout", w.duration(k.Timeout))
	add(k.Retries != 0, "Retries", jen.Lit(k.Retries))
	add(true, "Backoff", w.duration(k.Backoff))
	add(k.BackoffMax != 0, "BackoffMax", w.duration(k.BackoffMax))
	add(true, "Weight", jen.Lit(k.Weight))
	add(k.MaxCrashes != 0, "MaxCrashes", jen.Lit(k.MaxCrashes))
	add(k.Isolation == "process", "Isolation", jen.Lit(k.Isolation))
	promise := w.contract.Workers[k.Name]
	add(true, "Payload", jen.Lit(promise.Payload.Fingerprint))
	if promise.Result != nil {
		add(true, "Result", jen.Lit(promise.Result.Fingerprint))
	}
	add(len(k.Jobs) > 0, "Jobs", w.jobs(k.Jobs))
	return declaration{jen.Var().Id(k.helper).Op("=").Add(w.af("Worker")).Add(multiline(fields))}
}

// jobs returns the jobs that a worker declares, without options that have their default value.
func (w *writer) jobs(jobs []ir.Job) jen.Code {
	if len(jobs) == 0 {
		return nil
	}
	var list []jen.Code
	for _, j := range jobs {
		fields := []jen.Code{w.field("ID", jen.Lit(j.ID)), w.field("Cron", jen.Lit(j.Cron))}
		add := func(present bool, name string, value jen.Code) {
			if present {
				fields = append(fields, w.field(name, value))
			}
		}
		add(j.Zone != "UTC", "Zone", jen.Lit(j.Zone))
		if len(j.Allow) > 0 {
			allow := make([]jen.Code, len(j.Allow))
			for i, a := range j.Allow {
				allow[i] = jen.Lit(a)
			}
			add(true, "Allow", jen.Index().String().Values(allow...))
		}
		add(j.Missed != "once", "Missed", jen.Lit(j.Missed))
		add(j.Overlap != "allow", "Overlap", jen.Lit(j.Overlap))
		list = append(list, jen.Values(fields...))
	}
	return jen.Index().Add(w.af("DeclaredJob")).Add(multiline(list))
}
