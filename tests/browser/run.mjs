// Runs M-Lab's unmodified browser library in headless Chromium against an ndt7
// server, both directions for each protocol, and prints what the page saw as JSON.
//
// node run.mjs CHROMIUM PROTOCOL=HOST:PORT…      with GROMA_NODE_MODULES set

import {readFile} from 'node:fs/promises';
import http from 'node:http';
import {createRequire} from 'node:module';
import path from 'node:path';

const modules = path.resolve(process.env.GROMA_NODE_MODULES);
const {chromium} = createRequire(import.meta.url)(path.join(modules, 'playwright-core'));

const library = path.join(modules, '@m-lab', 'ndt7', 'src');
const files = {
  '/': ['text/html', new URL('page.html', import.meta.url)],
  '/ndt7.js': ['text/javascript', path.join(library, 'ndt7.js')],
  '/ndt7-download-worker.js': ['text/javascript', path.join(library, 'ndt7-download-worker.js')],
  '/ndt7-upload-worker.js': ['text/javascript', path.join(library, 'ndt7-upload-worker.js')],
};

async function servePage() {
  const server = http.createServer(async (request, response) => {
    const [type, file] = files[request.url] ?? [];
    if (!file) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, {'Content-Type': type}).end(await readFile(file));
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return server;
}

// Runs in the page. The library reports what the server measured and what it
// measured itself; the last of each is what a person would be shown.
async function testBothDirections([protocol, server]) {
  const seen = {download: {}, upload: {}};
  const errors = [];
  const keep = (direction) => ({Source, Data}) => {
    if (Source === 'client') {
      seen[direction].client_mbps = Data.MeanClientMbps;
      return;
    }
    seen[direction].uuid = Data.ConnectionInfo?.UUID ?? seen[direction].uuid;
    const {BytesAcked, BytesReceived, ElapsedTime} = Data.TCPInfo ?? {};
    const bytes = direction === 'download' ? BytesAcked : BytesReceived;
    if (ElapsedTime) {
      seen[direction].server_mbps = 8 * bytes / ElapsedTime;
    }
  };
  const code = await window.ndt7.test(
      {protocol, server, userAcceptedDataPolicy: true, metadata: {client_name: 'groma-browser-test'}},
      {
        error: (message) => errors.push(String(message)),
        downloadMeasurement: keep('download'),
        uploadMeasurement: keep('upload'),
      });
  return ['download', 'upload'].map((direction) => ({protocol, direction, code, errors, ...seen[direction]}));
}

const [executablePath, ...targets] = process.argv.slice(2);
const server = await servePage();
const browser = await chromium.launch({
  executablePath,
  headless: true,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--ignore-certificate-errors',
  ],
});
try {
  const tests = [];
  for (const target of targets) {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    tests.push(...await page.evaluate(testBothDirections, target.split('=')));
    await page.close();
  }
  console.log(JSON.stringify({browser: browser.version(), tests}));
} finally {
  await browser.close();
  server.close();
}
