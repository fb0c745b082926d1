package lists

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
)

// observe returns an App that has connections and has read nothing but a task, and what ends it.
func (s *system) observe(b *testing.B) (app *af.App, end func()) {
	app, err := af.Open(b.Context(), s.backend, af.Logger(slog.New(slog.DiscardHandler)), af.Observer())
	if err != nil {
		b.Fatal(err)
	}
	if err := app.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	var connect sync.WaitGroup
	for range 20 { // as many as a page may use at the same time
		connect.Go(func() {
			if _, err := app.GetTask(b.Context(), s.waiting); err != nil {
				b.Error(err)
			}
		})
	}
	connect.Wait()
	return app, func() { _ = app.Shutdown(context.Background()) }
}

// profile reports what a render costs MongoDB, which doesn't depend on the load of the machine: commands, examined keys
// and documents. The server's own measure of their time has whole milliseconds for each.
func (s *system) profile(b *testing.B, render func() error) {
	db, err := servers.Mongo(s.app)
	if err != nil {
		return // another backend
	}
	ctx := b.Context()
	level := func(n int) {
		if err := db.RunCommand(ctx, bson.D{{Key: "profile", Value: n}, {Key: "slowms", Value: 1000}}).Err(); err != nil {
			b.Fatal(err)
		}
	}
	begun := time.Now().Add(-time.Millisecond)
	level(2)
	err = render()
	level(0)
	if err != nil {
		b.Fatal(err)
	}
	cursor, err := db.Collection("system.profile").Find(ctx, bson.D{
		{Key: "ts", Value: bson.D{{Key: "$gte", Value: begun}}},
		{Key: "op", Value: bson.D{{Key: "$in", Value: bson.A{"command", "query", "getmore"}}}},
		{Key: "command.profile", Value: nil}, {Key: "command.findAndModify", Value: nil},
	})
	if err != nil {
		b.Fatal(err)
	}
	var all []struct {
		KeysExamined int `bson:"keysExamined"`
		DocsExamined int `bson:"docsExamined"`
		Millis       int `bson:"millis"`
	}
	if err := cursor.All(ctx, &all); err != nil {
		b.Fatal(err)
	}
	keys, docs, took := 0, 0, 0
	for _, x := range all {
		keys, docs, took = keys+x.KeysExamined, docs+x.DocsExamined, took+x.Millis
	}
	b.ReportMetric(float64(len(all)), "commands")
	b.ReportMetric(float64(keys), "keys")
	b.ReportMetric(float64(docs), "docs")
	b.ReportMetric(float64(took), "server-ms")
}
