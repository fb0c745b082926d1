package mongoproxy_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/mongoproxy"
)

// The journal has a command's changes even if the client got no reply, and nothing of commands that it doesn't
// record.
func TestJournalRecordsWhatHappened(t *testing.T) {
	p := mongoproxy.New(t, devstack.Mongo(t), mongoproxy.Config{Journal: map[string]mongoproxy.Matcher{
		"tasks": mongoproxy.Writes("tasks"), "owners": mongoproxy.Sets("owners", "dead"),
	}})
	client, err := mongo.Connect(options.Client().ApplyURI(p.URI()).SetAppName("me"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	db := client.Database(p.Database().Name())
	ctx, tasks, owners := t.Context(), db.Collection("tasks"), db.Collection("owners")
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	set := func(field string, value any) bson.D { return d("$set", d(field, value)) }
	must(tasks.InsertMany(ctx,
		[]bson.D{{{Key: "_id", Value: "a"}, {Key: "n", Value: 1}}, {{Key: "_id", Value: "b"}, {Key: "n", Value: 1}}}))
	must(tasks.UpdateMany(ctx, d("n", 1), set("n", 2)))    // by a field other than the id
	must(tasks.UpdateOne(ctx, d("_id", "a"), set("n", 2))) // changes nothing
	lost := p.Trap(mongoproxy.After, mongoproxy.WithID("a", mongoproxy.Sets("tasks", "n")), nil)
	if _, err := tasks.UpdateOne(ctx, d("_id", "a"), set("n", 3)); err == nil {
		t.Error("a reply to a trapped update")
	}
	<-lost.Sprung()
	modified := p.Trap(mongoproxy.After, mongoproxy.WithID("a", mongoproxy.Sets("tasks", "n")), nil)
	if err := tasks.FindOneAndUpdate(ctx, d("_id", "a"), set("n", 4)).Err(); err == nil {
		t.Error("a reply to a trapped findAndModify")
	}
	<-modified.Sprung()
	must(owners.InsertOne(ctx, bson.D{{Key: "_id", Value: "o"}, {Key: "beats", Value: 1}}))
	must(owners.UpdateOne(ctx, d("_id", "o"), set("dead", true)))
	must(tasks.DeleteOne(ctx, d("_id", "b")))

	changes, err := p.Changes()
	if err != nil {
		t.Fatal(err)
	}
	n := func(document bson.Raw) string {
		if document == nil {
			return "-"
		}
		return document.Lookup("n").String()
	}
	var got []string
	for _, c := range changes {
		if c.Application != "me" || c.At.IsZero() {
			t.Errorf("%+v", c)
		}
		id := c.After
		if id == nil {
			id = c.Before
		}
		got = append(got, fmt.Sprintf("%s %s %s→%s", c.Collection, id.Lookup("_id").StringValue(), n(c.Before), n(c.After)))
	}
	number := func(n int) string { return fmt.Sprintf(`{"$numberInt":"%d"}`, n) }
	want := []string{
		"tasks a -→" + number(1), "tasks b -→" + number(1),
		"tasks a " + number(1) + "→" + number(2), "tasks b " + number(1) + "→" + number(2),
		"tasks a " + number(2) + "→" + number(3), "tasks a " + number(3) + "→" + number(4), "owners o -→",
		"tasks b " + number(2) + "→-",
	}
	if !slices.Equal(got, want) {
		t.Errorf("changes %q,\nwant    %q", got, want)
	}
}
