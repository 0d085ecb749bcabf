import { existsSync } from 'node:fs'
import { open, readFile, writeFile } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import * as assert from 'uvu/assert'
import { type SpawnedProcess, spawnProcess } from '../../helpers/spawn.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { throttleDevice, throttleDeviceUnavailable } from './block_throttle.js'
import { movableClock, movableClockUnavailable } from './clock.js'
import { limitDescriptors, limitDescriptorsUnavailable } from './descriptor_limit.js'
import { diskFiller, diskFillerUnavailable } from './disk_filler.js'
import { LoopVolume, loopVolumeUnavailable } from './loop_volume.js'
import { MemoryLimit, memoryLimitUnavailable } from './memory_limit.js'
import { NetworkNamespace, networkNamespaceUnavailable } from './network_namespace.js'
import { checkOnce, type Unavailable } from './requirements.js'
import { processState, suspend, suspendUnavailable } from './suspend.js'
import {
  injectSyscallFault,
  spawnWithSyscallFault,
  syncCalls,
  syscallFaultsUnavailable,
} from './syscall_faults.js'
import { watchWal } from './wal_watch.js'

const test = suite('faults/machine')

const smallVolume = { sizeBytes: 32 * 1024 * 1024 }

async function skipIf(context: TestContext, unavailable: Unavailable): Promise<void> {
  const reason = await unavailable()
  if (reason !== undefined) context.skip(reason)
}

async function assertStays(condition: () => boolean, durationMs: number): Promise<void> {
  const end = performance.now() + durationMs
  await waitFor('the time to pass', () => performance.now() > end || !condition())
  assert.ok(condition())
}

/** Writes a letter and syncs, again and again, and prints the outcome and the time each time. */
const syncLoop = `
const { openSync, writeSync, fdatasync } = require('node:fs')
const file = openSync(process.argv[1], 'w')
const step = () => {
  writeSync(file, 'x')
  const begin = performance.now()
  fdatasync(file, (error) => {
    console.log(error?.code ?? 'ok', performance.now() - begin)
    setTimeout(step, 5)
  })
}
step()`

/** The output of the loop from now on. */
async function nextSyncs(loop: SpawnedProcess, count: number): Promise<{ code: string; ms: number }[]> {
  const from = loop.output.stdout.length
  const lines = await waitFor('the process to sync', () => {
    // The first may have begun before.
    const complete = loop.output.stdout.slice(from).split('\n').slice(1, -1)
    return complete.length > count && complete.slice(1)
  })
  return lines.map((line) => ({ code: line.split(' ')[0] ?? '', ms: Number(line.split(' ')[1]) }))
}

async function startSyncLoop(context: TestContext): Promise<SpawnedProcess> {
  const args = ['-e', syncLoop, join(await context.tempDir(), 'file')]
  return spawnProcess(context, process.execPath, args, { env: { UV_THREADPOOL_SIZE: '1' } })
}

test('a power cut loses unsynced data, and keeps synced data', async (context) => {
  await skipIf(context, loopVolumeUnavailable)
  const volume = await LoopVolume.create(context, smallVolume)
  const kept = join(volume.dir, 'kept')
  const lost = join(volume.dir, 'lost')
  const bytes = context.random().bytes(100_000)
  for (let round = 0; round < 2; round++) {
    const file = await open(kept, 'w')
    await file.writeFile(bytes)
    await file.sync()
    await file.writeFile(bytes)
    await file.close()
    await writeFile(lost, bytes)
    await volume.cutPower()
    const error = await readFile(kept).catch((cause: NodeJS.ErrnoException) => cause)
    assert.is((error as NodeJS.ErrnoException).code, 'EIO', 'nothing can be read after the cut')
    await volume.unmount()
    await volume.mount()
    assert.equal(await readFile(kept), Buffer.from(bytes), 'the synced part alone')
    assert.not(existsSync(lost))
  }
})

test('a new write-ahead file is reported at once', async (context) => {
  const dir = await context.tempDir()
  const db = new ClassicLevel<string, Uint8Array>(dir, { valueEncoding: 'view', writeBufferSize: 64 * 1024 })
  await db.open()
  context.defer(() => db.close())
  const told: string[] = []
  watchWal(context, dir, (name) => told.push(name))
  const random = context.random()
  for (let i = 0; i < 20; i++) await db.put(`key ${i}`, random.bytes(16 * 1024))
  await waitFor('write-ahead files to change', () => told.length >= 2)
  assert.equal(told, [...told].sort())
  assert.ok(told.every((name) => /^\d+\.log$/.test(name)))
})

test('a volume is filled up to the given free space, and freed', async (context) => {
  await skipIf(context, checkOnce(loopVolumeUnavailable, diskFillerUnavailable))
  const volume = await LoopVolume.create(context, smallVolume)
  const before = await volume.freeBytes()
  const filler = diskFiller(context, volume.dir)
  await filler.fill(1024 * 1024)
  const left = await volume.freeBytes()
  assert.ok(left <= 1024 * 1024 && left > 900_000, `${left} bytes are left`)
  const path = join(volume.dir, 'file')
  await writeFile(path, Buffer.alloc(512 * 1024))
  await filler.fill()
  assert.is(await volume.freeBytes(), 0)
  const error = await writeFile(path, Buffer.alloc(2 * 1024 * 1024)).catch((cause) => cause)
  assert.is(error?.code, 'ENOSPC')
  await filler.free()
  await writeFile(path, Buffer.alloc(2 * 1024 * 1024))
  assert.ok((await volume.freeBytes()) > before - 3 * 1024 * 1024)
})

test('syncs of a running process fail, are slow, and succeed again', async (context) => {
  await skipIf(context, syscallFaultsUnavailable)
  const loop = await startSyncLoop(context)
  assert.ok((await nextSyncs(loop, 3)).every(({ code }) => code === 'ok'))
  const failing = await injectSyscallFault(context, loop.pid, { calls: syncCalls, error: 'EIO' })
  assert.ok((await nextSyncs(loop, 3)).every(({ code }) => code === 'EIO'))
  assert.ok((await failing.count()) >= 3)
  await failing.detach()
  assert.ok((await nextSyncs(loop, 3)).every(({ code }) => code === 'ok'))
  const slow = await injectSyscallFault(context, loop.pid, { calls: syncCalls, delayMs: 20 })
  assert.ok((await nextSyncs(loop, 3)).every(({ code, ms }) => code === 'ok' && ms >= 20))
  await slow.detach()
  assert.ok((await nextSyncs(loop, 5)).some(({ code, ms }) => code === 'ok' && ms < 20))
})

test('a process is started with syncs that fail from the third on', async (context) => {
  await skipIf(context, syscallFaultsUnavailable)
  const file = join(await context.tempDir(), 'file')
  const fault = { calls: syncCalls, error: 'EIO', when: '3+' } as const
  const loop = await spawnWithSyscallFault(context, fault, process.execPath, ['-e', syncLoop, file])
  await loop.process.waitForOutput('stdout', /^ok \S+\nok \S+\nEIO \S+\nEIO /)
  assert.ok((await loop.count()) >= 1)
  loop.process.kill('SIGKILL')
  assert.is((await loop.process.exited).signal, 'SIGKILL', 'the signal meets the program, not strace')
})

test('a device becomes slow, and fast again', async (context) => {
  await skipIf(context, checkOnce(loopVolumeUnavailable, throttleDeviceUnavailable))
  const volume = await LoopVolume.create(context, smallVolume)
  const timedSyncMs = async (): Promise<number> => {
    const file = await open(join(volume.dir, 'file'), 'w')
    await file.writeFile(Buffer.alloc(256 * 1024))
    const begin = performance.now()
    await file.sync()
    await file.close()
    return performance.now() - begin
  }
  const release = await throttleDevice(context, volume.device, { writeBytesPerSecond: 512 * 1024 })
  assert.ok((await timedSyncMs()) > 300)
  await release()
  await timedSyncMs()
  assert.ok((await timedSyncMs()) < 300)
})

test('a process that exceeds its memory limit is killed', async (context) => {
  await skipIf(context, memoryLimitUnavailable)
  const limit = await MemoryLimit.create(context, 96 * 1024 * 1024)
  const hog = `const held = []
process.stdin.once('data', () => { for (;;) held.push(Buffer.alloc(1024 * 1024, 1)) })
console.log('ready')`
  const [program, ...args] = limit.command(process.execPath, ['-e', hog])
  const inside = spawnProcess(context, program, args)
  await inside.waitForOutput('stdout', /ready/)
  assert.is(await limit.oomKills(), 0)
  assert.ok((await limit.usedBytes()) > 1024 * 1024)
  inside.stdin.write('go')
  assert.is((await inside.exited).signal, 'SIGKILL')
  await waitFor('the kill to be counted', async () => (await limit.oomKills()) > 0)
  const added = spawnProcess(context, process.execPath, ['-e', hog])
  await added.waitForOutput('stdout', /ready/)
  await limit.add(added.pid)
  added.stdin.write('go')
  assert.is((await added.exited).signal, 'SIGKILL')
})

test('a process runs out of descriptors, and gets them back', async (context) => {
  await skipIf(context, limitDescriptorsUnavailable)
  const opener = `process.stdin.on('data', () => {
  try { console.log('opened', require('node:fs').openSync('/dev/null')) } catch (e) { console.log(e.code) }
})
console.log('ready')`
  const child = spawnProcess(context, process.execPath, ['-e', opener])
  await child.waitForOutput('stdout', /ready/)
  const restore = await limitDescriptors(context, child.pid, 1)
  child.stdin.write('open')
  await child.waitForOutput('stdout', /ready\nopened \d+\n/)
  child.stdin.write('open')
  await child.waitForOutput('stdout', /EMFILE/)
  await restore()
  child.stdin.write('open')
  await child.waitForOutput('stdout', /EMFILE\nopened/)
})

test('a wall clock moves both ways, and the monotonic one does not', async (context) => {
  await skipIf(context, movableClockUnavailable)
  const clock = await movableClock(context)
  const script = `process.stdin.on('data', () => console.log('now', Date.now(), performance.now()))
console.log('ready')`
  const child = spawnProcess(context, process.execPath, ['-e', script], { env: clock.env })
  await child.waitForOutput('stdout', /ready/)
  const monotonicMs = [0]
  for (const offsetMs of [0, 3_600_000, -3_600_000, 0]) {
    await clock.move(offsetMs)
    const from = child.output.stdout.length
    child.stdin.write('ask')
    const answer = await waitFor('the time', () => /now (\S+) (\S+)\n/.exec(child.output.stdout.slice(from)))
    const errorMs = Math.abs(Number(answer[1]) - Date.now() - offsetMs)
    assert.ok(errorMs < 2_000, `${errorMs} ms off`)
    monotonicMs.push(Number(answer[2]))
    assert.ok(monotonicMs.every((ms) => ms <= Number(answer[2]) && Number(answer[2]) < 10_000))
  }
})

async function connectionInto(
  context: TestContext,
  network: NetworkNamespace,
): Promise<{ client: SpawnedProcess; received: string[]; events: string[] }> {
  const received: string[] = []
  const events: string[] = []
  const server = createServer((socket: Socket) => {
    context.defer(() => socket.destroy())
    socket.setEncoding('utf8').on('data', (text: string) => received.push(text))
    for (const event of ['error', 'end', 'close']) socket.on(event, () => events.push(event))
  })
  await new Promise<void>((resolve) => server.listen(0, network.hostAddress, resolve))
  context.defer(() => server.close())
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : 0
  const script = `const socket = require('node:net').connect(${port}, '${network.hostAddress}')
process.stdin.on('data', (bytes) => socket.write(bytes))`
  const client = network.spawn(process.execPath, ['-e', script])
  client.stdin.write('one')
  await waitFor('the first', () => received.join('') === 'one')
  return { client, received, events }
}

for (const [how, begin, end] of [
  ['over a link that is down', 'linkDown', 'linkUp'],
  ['whose packets are lost', 'losePackets', 'passPackets'],
] as const) {
  test(`a connection ${how} stalls, and resumes afterwards`, async (context) => {
    await skipIf(context, networkNamespaceUnavailable)
    const network = await NetworkNamespace.create(context)
    const { client, received, events } = await connectionInto(context, network)
    for (const [before, text, after] of [
      ['one', 'two', 'onetwo'],
      ['onetwo', 'three', 'onetwothree'],
    ] as const) {
      await network[begin]()
      client.stdin.write(text)
      await assertStays(() => received.join('') === before, 300)
      await network[end]()
      await waitFor('what was held up', () => received.join('') === after)
    }
    assert.equal(events, [])
  })
}

test('a process is suspended and resumed', async (context) => {
  await skipIf(context, suspendUnavailable)
  const loop = await startSyncLoop(context)
  await nextSyncs(loop, 1)
  const resume = await suspend(context, loop.pid)
  assert.is(await processState(loop.pid), 'T')
  await resume()
  await nextSyncs(loop, 1)
})

test.run()
