package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/internal/devstack"
)

// enter gives the world its own directory, and if its system uses MongoDB and RabbitMQ, its own database and virtual
// host. The function that it returns removes them.
func (w *world) enter(ctx context.Context) (leave stop, err error) {
	name := fmt.Sprintf("peers_%x_%x", os.Getpid(), time.Now().UnixMilli()&0xffffffff)
	if w.Dir, err = os.MkdirTemp("", "af"); err != nil { // short, because it has sockets
		return nil, err
	}
	undo := []stop{func(context.Context) error { return os.RemoveAll(w.Dir) }}
	leave = func(ctx context.Context) (err error) {
		for _, do := range undo {
			err = errors.Join(err, do(ctx))
		}
		return err
	}
	if w.system != servers && w.system != bare {
		return leave, nil
	}
	w.Mongo = devstack.WithDatabase(w.Mongo, name)
	undo = append(undo, w.dropDatabase)
	if w.AMQPAdmin != "" {
		undo = append(undo, func(ctx context.Context) error { return w.vhost(ctx, "DELETE", name) })
		if err := w.createVHost(ctx, name); err != nil {
			return nil, errors.Join(err, leave(ctx))
		}
	}
	return leave, nil
}

// database returns the name of the database of a sample.
func (s site) database() string {
	base, _, _ := strings.Cut(s.Mongo, "?")
	return base[strings.LastIndex(base, "/")+1:]
}

func (w *world) dropDatabase(ctx context.Context) error {
	client, err := mongo.Connect(options.Client().ApplyURI(w.Mongo))
	if err != nil {
		return err
	}
	return errors.Join(client.Database(w.database()).Drop(ctx), client.Disconnect(ctx))
}

// createVHost creates a virtual host and sets w.AMQP to it.
func (w *world) createVHost(ctx context.Context, name string) error {
	u, err := url.Parse(w.AMQP)
	if err != nil {
		return errors.New("the URI of RabbitMQ is not valid") // without the password in it
	}
	if err := w.vhost(ctx, "PUT", name); err != nil {
		return err
	}
	err = w.admin(ctx, "PUT", "permissions/"+name+"/"+url.PathEscape(u.User.Username()),
		`{"configure":".*","write":".*","read":".*"}`)
	u.Path = "/" + name
	w.AMQP = u.String()
	return err
}

func (w *world) vhost(ctx context.Context, method, name string) error {
	return w.admin(ctx, method, "vhosts/"+name, "")
}

// admin sends a request to RabbitMQ's HTTP API.
func (w *world) admin(ctx context.Context, method, path, body string) error {
	r, err := http.NewRequestWithContext(ctx, method, w.AMQPAdmin+"/api/"+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	u, err := url.Parse(w.AMQP)
	if err != nil {
		return errors.New("the URI of RabbitMQ is not valid")
	}
	password, _ := u.User.Password()
	r.SetBasicAuth(u.User.Username(), password)
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(answer.Body)
	if err = errors.Join(err, answer.Body.Close()); err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("RabbitMQ: %s %s: %s: %s", method, path, answer.Status, text)
	}
	return err
}
