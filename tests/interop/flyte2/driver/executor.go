package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	flyteorgv1 "github.com/flyteorg/flyte/v2/executor/api/v1"
	"github.com/flyteorg/flyte/v2/executor/pkg/controller"
	"github.com/flyteorg/flyte/v2/executor/pkg/plugin"
	"github.com/flyteorg/flyte/v2/flyteplugins/go/tasks/pluginmachinery"
	"github.com/flyteorg/flyte/v2/flyteplugins/go/tasks/plugins/webapi/connector"
	"github.com/flyteorg/flyte/v2/flytestdlib/contextutils"
	"github.com/flyteorg/flyte/v2/flytestdlib/otelutils"
	"github.com/flyteorg/flyte/v2/flytestdlib/promutils"
	"github.com/flyteorg/flyte/v2/flytestdlib/promutils/labeled"
	"github.com/flyteorg/flyte/v2/flytestdlib/storage"
)

const reconcilers = 32

// executor is Flyte's controller with what it needs around it.
type executor struct {
	cluster    client.WithWatch
	reconciler *controller.TaskActionReconciler
	store      *storage.DataStore
	events     *eventsService
	counts     *counts
	queue      workqueue.TypedRateLimitingInterface[types.NamespacedName]
}

// startExecutor loads the plugin as the executor's own set-up does and begins to reconcile.
func startExecutor(ctx context.Context, settings *settings) (*executor, error) {
	labeled.SetMetricKeys(contextutils.ProjectKey, contextutils.DomainKey, contextutils.TaskIDKey)
	counted := countFromLogs()
	scheme := runtime.NewScheme()
	if err := flyteorgv1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	store, err := storage.NewDataStore(&settings.Storage, promutils.NewScope("driver_storage"))
	if err != nil {
		return nil, fmt.Errorf("the object store: %w", err)
	}
	secrets := newSecretManager(settings.Secrets)
	registry, err := loadPlugin(ctx, secrets)
	if err != nil {
		return nil, err
	}
	cluster := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&flyteorgv1.TaskAction{}).Build()
	recorded := newEventsService()
	reconciler := controller.NewTaskActionReconciler(
		cluster, scheme, registry, store, recorded, "driver", otelutils.GetMeterProvider("driver"), nil,
	)
	reconciler.Recorder = &events.FakeRecorder{}
	reconciler.SecretManager = secrets
	reconciler.ResourceManager = plugin.NewNoopResourceManager()
	reconciler.MaxSystemFailures = settings.MaxSystemFailures
	reconciler.RequeueDuration = settings.requeue()
	started := &executor{
		cluster:    cluster,
		reconciler: reconciler,
		store:      store,
		events:     recorded,
		counts:     counted,
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.DefaultTypedControllerRateLimiter[types.NamespacedName]()),
	}
	return started, started.start(ctx)
}

func loadPlugin(ctx context.Context, secrets *secretManager) (*plugin.Registry, error) {
	connector.RegisterConnectorPlugin(&connector.ConnectorService{})
	setup := plugin.NewSetupContext(
		nil, secrets, plugin.NewNoopResourceRegistrar(), nil, nil, "TaskAction", promutils.NewScope("driver_plugin"),
	)
	registry := plugin.NewRegistry(setup, pluginmachinery.PluginRegistry())
	if err := registry.Initialize(ctx); err != nil {
		return nil, fmt.Errorf("the connector plugin: %w", err)
	}
	return registry, nil
}

// start watches the cluster, as a controller's source does, and reconciles what changed.
func (e *executor) start(ctx context.Context) error {
	watch, err := e.cluster.Watch(ctx, &flyteorgv1.TaskActionList{})
	if err != nil {
		return err
	}
	go func() {
		for event := range watch.ResultChan() {
			if action, ok := event.Object.(*flyteorgv1.TaskAction); ok {
				e.queue.Add(client.ObjectKeyFromObject(action))
			}
		}
	}()
	for range reconcilers {
		go func() {
			for e.reconcileNext(ctx) {
			}
		}()
	}
	return nil
}

func (e *executor) reconcileNext(ctx context.Context) bool {
	name, isClosed := e.queue.Get()
	if isClosed {
		return false
	}
	defer e.queue.Done(name)
	result, err := e.reconciler.Reconcile(e.counts.watching(ctx, name.Name), ctrl.Request{NamespacedName: name})
	switch {
	case err != nil:
		e.counts.roundFailed(name.Name)
		e.queue.AddRateLimited(name)
	case result.RequeueAfter > 0:
		e.queue.Forget(name)
		e.queue.AddAfter(name, result.RequeueAfter)
	default:
		e.queue.Forget(name)
	}
	return true
}

// collectGarbage runs one sweep of Flyte's garbage collector, for which every action that is over is old enough.
func (e *executor) collectGarbage(ctx context.Context) error {
	collector := controller.NewGarbageCollector(e.cluster, e.cluster, time.Hour, 0, otelutils.GetMeterProvider("driver"))
	// It sweeps once before it looks at its context.
	sweeping, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return collector.Start(sweeping)
}
