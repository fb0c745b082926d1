package catalog

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/afgen/afgen/examples/orders/store"
	af "github.com/afgen/afgen/runtime"
)

// File is a CSV file: a line "sku,cents" for each product.
type File struct {
	Name string `json:"name"`
	CSV  string `json:"csv"`
}

// Line is a line of a file.
type Line struct {
	Number int    `json:"number"`
	SKU    string `json:"sku"`
	Cents  string `json:"cents"`
}

// Report is the result of an import.
type Report struct {
	Imported int      `json:"imported"`
	Refused  int      `json:"refused"`
	Errors   []string `json:"errors,omitempty"` // the first ones
}

// Import imports a file. Its lines are subtasks, which all worker processes share. The file's task is successful when
// they are stored; Catalog.Report has the result once all of them have ended.
//
//af:worker retries=3 timeout=1m
type Import struct {
	Store store.Store
	Lines *ImportLineQueue
}

// Run reads the file and submits its lines.
func (i *Import) Run(ctx context.Context, f File) (lines int, err error) {
	rows := csv.NewReader(strings.NewReader(f.CSV))
	rows.FieldsPerRecord = 2
	records, err := rows.ReadAll()
	if err != nil { // the same at the next attempt
		return 0, af.Permanent(af.Errorf(af.ErrInvalidArgument, "%s: %v", f.Name, err))
	}
	all := make([]Line, len(records))
	for n, r := range records {
		all[n] = Line{Number: n + 1, SKU: r[0], Cents: r[1]}
	}
	task := af.TaskFrom(ctx)
	if err := task.Progress(ctx, fmt.Sprintf("%d lines read", len(all))); err != nil {
		return 0, err
	}
	// A later attempt submits the same batch, not a second one.
	_, err = i.Lines.Subtasks(ctx, task.ID, all, af.OnFailure(af.CollectFailures))
	return len(all), err
}

// SubtasksDone runs once, when all lines are imported or refused.
func (i *Import) SubtasksDone(ctx context.Context, f File, s af.Subtasks) error {
	report := Report{Imported: s.Succeeded, Refused: s.Failed + s.Stopped}
	for task, err := range s.All(ctx) {
		if err != nil {
			return err
		}
		if task.Status != af.StatusSuccess && len(report.Errors) < 10 {
			report.Errors = append(report.Errors, task.Error.Message)
		}
	}
	return i.Store.Put(ctx, "report", f.Name, report)
}

// ImportLine imports a product.
//
//af:worker max=8 retries=2 timeout=10s
type ImportLine struct{ Store store.Store }

// Run imports one line. Doing it twice is harmless.
func (i *ImportLine) Run(ctx context.Context, l Line) error {
	cents, err := strconv.Atoi(l.Cents)
	if err == nil && (l.SKU == "" || cents <= 0) {
		err = errors.New("a product needs a SKU and a price")
	}
	if err != nil {
		return af.Permanent(af.Errorf(af.ErrInvalidArgument, "line %d: %v", l.Number, err))
	}
	return i.Store.Put(ctx, "product", l.SKU, Product{SKU: l.SKU, Cents: cents})
}
