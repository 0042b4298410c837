// What the official JavaScript client does, step by step, in the namespace that is given. Run by
// test_javascript_client.py: one JSON line a step, {"step": ..., "result": ...} or {"step": ..., "error": ...}.

import net from 'node:net';
import { PassThrough, Writable } from 'node:stream';
import * as k8s from '@kubernetes/client-node';

const namespace = process.argv[2];
const SECONDS = 120;

const config = new k8s.KubeConfig();
config.loadFromFile(process.env.KUBECONFIG);
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Resolves with what `begin` hands to its first argument.
function awaited(begin) {
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`nothing after ${SECONDS} s`)), SECONDS * 1000).unref();
    Promise.resolve(begin(resolve, reject)).catch(reject);
  });
}

async function until(ask) {
  for (let attempt = 0; attempt < SECONDS * 10; attempt++) {
    const found = await ask();
    if (found) return found;
    await pause(100);
  }
  throw new Error(`nothing after ${SECONDS} s`);
}

function collector() {
  const stream = new Writable({
    write(chunk, encoding, done) {
      stream.text += chunk;
      done();
    },
  });
  stream.text = '';
  return stream;
}

const as = (contentType) => k8s.setHeaderOptions('Content-Type', contentType);
const body = (name, data) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data });
const read = async (name) => (await core.readNamespacedConfigMap({ name, namespace })).data;

async function run(command, stdin = null) {
  const output = collector();
  const status = await awaited((resolve, reject) =>
    new k8s.Exec(config).exec(namespace, pod, 'web', command, output, output, stdin, false, resolve).catch(reject),
  );
  return { output: output.text.trim(), status: status.status, code: status.details?.causes?.[0]?.message };
}

let pod;

const steps = {
  async create() {
    const created = await core.createNamespacedConfigMap({ namespace, body: body('a', { x: '1' }) });
    return Boolean(created.metadata.uid && created.metadata.creationTimestamp instanceof Date);
  },
  async patches() {
    const patches = [
      [k8s.PatchStrategy.MergePatch, { data: { merge: '1' } }],
      [k8s.PatchStrategy.StrategicMergePatch, { data: { strategic: '1' } }],
      [k8s.PatchStrategy.JsonPatch, [{ op: 'add', path: '/data/json', value: '1' }]],
    ];
    for (const [type, change] of patches) {
      await core.patchNamespacedConfigMap({ name: 'a', namespace, body: change }, as(type));
    }
    return Object.keys(await read('a')).sort();
  },
  async apply() {
    const asked = { name: 'b', namespace, fieldManager: 'javascript', force: true, body: body('b', { k: 'v' }) };
    const applied = await core.patchNamespacedConfigMap(asked, as(k8s.PatchStrategy.ServerSideApply));
    const entry = applied.metadata.managedFields[0];
    return [entry.manager, entry.operation];
  },
  async missing() {
    try {
      await core.readNamespacedConfigMap({ name: 'none', namespace });
      return 'found';
    } catch (error) {
      return [error.code, JSON.parse(error.body).reason];
    }
  },
  async anyObject() {
    const objects = k8s.KubernetesObjectApi.makeApiClient(config);
    await objects.create(body('o', { a: '1' }));
    await objects.patch(body('o', { b: '2' }));
    const found = await objects.read(body('o'));
    await objects.delete(body('o'));
    return Object.keys(found.data).sort();
  },
  async watch() {
    const seen = [];
    const request = awaited((resolve, reject) =>
      new k8s.Watch(config)
        .watch(
          `/api/v1/namespaces/${namespace}/configmaps`,
          { fieldSelector: 'metadata.name=watched' },
          (type) => seen.push(type) === 3 && resolve(seen),
          (error) => error && error.name !== 'AbortError' && reject(error),
        )
        .then(async (controller) => {
          await core.createNamespacedConfigMap({ namespace, body: body('watched', {}) });
          const change = { name: 'watched', namespace, body: { data: { a: '1' } } };
          await core.patchNamespacedConfigMap(change, as(k8s.PatchStrategy.MergePatch));
          await core.deleteNamespacedConfigMap({ name: 'watched', namespace });
          await until(() => seen.length === 3);
          controller.abort();
        }),
    );
    return await request;
  },
  async informer() {
    const events = [];
    const path = `/api/v1/namespaces/${namespace}/configmaps`;
    const informer = k8s.makeInformer(config, path, () => core.listNamespacedConfigMap({ namespace }));
    informer.on('add', (object) => events.push(`add ${object.metadata.name}`));
    informer.on('delete', (object) => events.push(`delete ${object.metadata.name}`));
    await informer.start();
    await core.deleteNamespacedConfigMap({ name: 'a', namespace });
    await until(() => events.includes('delete a'));
    await informer.stop();
    return ['add a', 'add b', 'delete a'].every((event) => events.includes(event));
  },
  async deployment() {
    const labels = { app: 'web' };
    const container = { name: 'web', image: 'nginx', ports: [{ containerPort: 80 }] };
    const template = { metadata: { labels }, spec: { containers: [container] } };
    const spec = { replicas: 1, selector: { matchLabels: labels }, template };
    await apps.createNamespacedDeployment({ namespace, body: { metadata: { name: 'web' }, spec } });
    const asked = { namespace, labelSelector: 'app=web', fieldSelector: 'status.phase=Running' };
    pod = (await until(async () => (await core.listNamespacedPod(asked)).items[0])).metadata.name;
    return pod.startsWith('web-');
  },
  async logs() {
    const text = await core.readNamespacedPodLog({ name: pod, namespace });
    const followed = collector();
    const options = { follow: true, tailLines: 100 };
    const controller = await new k8s.Log(config).log(namespace, pod, 'web', followed, options);
    await until(() => followed.text.length >= text.length);
    controller.abort();
    return followed.text.startsWith(text);
  },
  async exec() {
    return await run(['echo', 'hello']);
  },
  async execInput() {
    const input = new PassThrough();
    input.end('typed\n');
    return await run(['cat'], input);
  },
  async execCode() {
    return await run(['sh', '-c', 'exit 3']);
  },
  async attach() {
    const socket = await new k8s.Attach(config).attach(namespace, pod, 'web', collector(), collector(), null, false);
    const version = socket.protocol;
    socket.close();
    return version;
  },
  async portForward() {
    const forward = new k8s.PortForward(config);
    const server = net.createServer((socket) => forward.portForward(namespace, pod, [80], socket, null, socket));
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    const answer = await awaited((resolve, reject) => {
      const socket = net.connect(server.address().port, '127.0.0.1');
      socket.on('error', reject);
      let text = '';
      socket.on('data', (data) => {
        text += data;
        if (text.includes('\r\n\r\n')) resolve(text);
      });
      socket.write('GET / HTTP/1.0\r\nHost: pod\r\n\r\n');
    });
    server.close();
    return answer.split('\r\n')[0].split(' ')[1];
  },
  async nodes() {
    return (await k8s.topNodes(core)).length;
  },
};

for (const [step, work] of Object.entries(steps)) {
  let told;
  try {
    told = { step, result: await work() };
  } catch (error) {
    told = { step, error: `${error?.body ?? error?.message ?? error}` };
  }
  console.log(JSON.stringify(told));
}
process.exit(0);
