package shop

import (
	"context"

	af "github.com/afgen/afgen/runtime"
)

// Day is the payload of a report.
type Day struct {
	Branch int `json:"branch"`
}

// Report writes the report of a day.
//
//af:worker retries=3 timeout=10m
//af:schedule id=nightly cron="30 3 * * *" tz=Europe/Berlin missed=once overlap=skip
type Report struct{}

// Run writes one report.
func (r *Report) Run(ctx context.Context, day Day) error {
	af.LoggerFrom(ctx).Info("report written", "branch", day.Branch)
	return nil
}
