package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flyteorg/flyte/flytepropeller/events"
	"github.com/flyteorg/flyte/flytepropeller/pkg/apis/flyteworkflow/v1alpha1"
	"github.com/flyteorg/flyte/flytepropeller/pkg/controller"
	"github.com/flyteorg/flyte/flytepropeller/pkg/controller/config"
	"github.com/flyteorg/flyte/flytepropeller/pkg/controller/executors"
	"github.com/flyteorg/flyte/flytepropeller/pkg/controller/nodes"
	"github.com/flyteorg/flyte/flytepropeller/pkg/controller/nodes/catalog"
	"github.com/flyteorg/flyte/flytepropeller/pkg/controller/nodes/factory"
	"github.com/flyteorg/flyte/flytepropeller/pkg/controller/nodes/recovery"
	"github.com/flyteorg/flyte/flytepropeller/pkg/controller/nodes/subworkflow/launchplan"
	"github.com/flyteorg/flyte/flytepropeller/pkg/controller/workflow"
	"github.com/flyteorg/flyte/flytepropeller/pkg/controller/workflowstore"
	stdconfig "github.com/flyteorg/flyte/flytestdlib/config"
	"github.com/flyteorg/flyte/flytestdlib/config/viper"
	"github.com/flyteorg/flyte/flytestdlib/contextutils"
	"github.com/flyteorg/flyte/flytestdlib/promutils"
	"github.com/flyteorg/flyte/flytestdlib/promutils/labeled"
	"github.com/flyteorg/flyte/flytestdlib/storage"
)

// engine is propeller's controller, put together as controller.New does, less what asks a cluster.
type engine struct {
	resources *resources
	queue     controller.CompositeWorkQueue
}

func newEngine(ctx context.Context, file, folder string, tell *teller, counts *counts, services *services) (*engine, error) {
	accessor := viper.NewAccessor(stdconfig.Options{StrictMode: true, SearchPaths: []string{file}})
	if err := accessor.UpdateConfig(ctx); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	counts.listen()
	cfg := config.GetConfig()
	labeled.SetMetricKeys(contextutils.MetricKeysFromStrings(cfg.MetricKeys)...)
	scope := promutils.NewScope(cfg.MetricsPrefix).NewSubScope("propeller").NewSubScope("all")
	queue, err := controller.NewCompositeWorkQueue(ctx, cfg.Queue, scope)
	if err != nil {
		return nil, err
	}
	resources := newResources(tell, func(key string) { queue.AddRateLimited(key) })
	sink := &listener{tell: tell, resources: resources}
	store := storage.NewCompositeDataStore(storage.NewURLPathConstructor(),
		storage.NewDefaultProtobufStore(&objects{folder: folder}, scope.NewSubScope("metastore")))
	executor, err := newWorkflowExecutor(ctx, cfg, store, sink, queue, services, scope)
	if err != nil {
		return nil, err
	}
	handler := controller.NewPropellerHandler(ctx, cfg, store, resources, executor, scope)
	pool := controller.NewWorkerPool(ctx, scope, queue, handler)
	if err := pool.Initialize(ctx); err != nil {
		return nil, err
	}
	go func() { _ = pool.Run(ctx, cfg.Workers) }()
	go resync(ctx, resources, cfg.WorkflowReEval.Duration)
	return &engine{resources: resources, queue: queue}, nil
}

func newWorkflowExecutor(ctx context.Context, cfg *config.Config, store *storage.DataStore, sink events.EventSink,
	queue controller.CompositeWorkQueue, services *services, scope promutils.Scope) (executors.Workflow, error) {

	enqueue := func(id v1alpha1.WorkflowID) { queue.AddToSubQueue(id) }
	catalogClient, err := catalog.NewCatalogClient(ctx)
	if err != nil {
		return nil, err
	}
	launcher := launchplan.NewFailFastLaunchPlanExecutor()
	recoveryClient := recovery.NewClient(nil)
	handlers, err := factory.NewHandlerFactory(ctx, launcher, launcher, noCluster{}, services.cluster, catalogClient,
		recoveryClient, &cfg.EventConfig, cfg.LiteralOffloadingConfig, cfg.ClusterID, nil, scope)
	if err != nil {
		return nil, err
	}
	nodeExecutor, err := nodes.NewExecutor(ctx, cfg.NodeConfig, store, enqueue, sink, launcher, launcher,
		storage.DataReference(cfg.DefaultRawOutputPrefix), noCluster{}, catalogClient, recoveryClient,
		cfg.LiteralOffloadingConfig, &cfg.EventConfig, cfg.ClusterID, nil, handlers, scope)
	if err != nil {
		return nil, err
	}
	active, err := workflowstore.NewExecutionStatsHolder()
	if err != nil {
		return nil, err
	}
	return workflow.NewExecutor(ctx, store, enqueue, sink, &record.FakeRecorder{}, cfg.MetadataPrefix, nodeExecutor,
		&cfg.EventConfig, cfg.ClusterID, scope, active)
}

// start enters an execution's resource, as flyteadmin creates it in the cluster.
func (e *engine) start(_ context.Context, asked execution) error {
	made, err := asked.build()
	if err != nil {
		return err
	}
	return e.resources.enter(made, asked.Lose)
}

// resync enqueues what is not over, as the informer does every workflow-reeval-duration.
func resync(ctx context.Context, resources *resources, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			resources.enqueueAll()
		}
	}
}

// noCluster is what propeller gets as its Kubernetes client: plugins that talk to services never ask it.
type noCluster struct{}

func (noCluster) GetClient() client.Client { return nil }
func (noCluster) GetCache() cache.Cache    { return nil }
