import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../../client/index.js'
import type { Campaign } from '../campaign.js'
import { percentile } from '../figures.js'
import { Findings, mib } from '../findings.js'
import { LoadProcess } from '../load/calls.js'
import type { HeartbeatCalls } from '../load/heartbeat_process.js'
import { MemoryWatch } from '../load/memory_watch.js'
import type { PublisherCalls } from '../load/publisher_process.js'
import { injectSyscallFault, syncCalls, syscallFaultsUnavailable } from '../machine/syscall_faults.js'
import { BrokerProcess } from '../trial/broker_process.js'

interface Size {
  readonly publishers: number
  readonly valueBytes: number
  /** Values of one publisher on their way: together several times what the broker may hold. */
  readonly inFlight: number
  readonly bytesMax: number
  readonly ms: number
  readonly delayMs: number
}

const full: Size = {
  publishers: 16,
  valueBytes: 256 * 1024,
  inFlight: 64,
  bytesMax: 1024 * mib,
  ms: 30_000,
  delayMs: 200,
}
const short: Size = {
  publishers: 8,
  valueBytes: 256 * 1024,
  inFlight: 16,
  bytesMax: 64 * mib,
  ms: 2_000,
  delayMs: 100,
}

const inboundBytesMax = 64 * mib
/**
 * Above what an idle broker takes: requests that are held (the budget, and the frames that may overshoot it, one for
 * each connection at most 256 KiB here), LevelDB's two write buffers of 16 MiB being copied into, the tail cache, and
 * garbage between two collections.
 */
const growthBytesMax = inboundBytesMax + 16 * mib + 32 * mib + 16 * mib + 128 * mib
const smallRequestMsMax = 500
const members = 5
const sessionTimeoutMs = 6_000

/** Publishers offer many times what a slowed disk takes, beside members that send heartbeats. */
export const fastPublishers: Campaign = {
  name: 'fast-publishers',
  title: 'publishers faster than the disk: memory stays bounded, small requests succeed, nothing is lost',
  rounds: { full: 3, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: syscallFaultsUnavailable,
  async round(context) {
    const size = context.short ? short : full
    const findings = new Findings()
    const dir = await context.tempDir()
    const settings = { inboundBytesMax }
    const broker = await BrokerProcess.start(context, { dir, settings, planted: context.planted })
    const { host, port, server, pid } = broker
    const admin = await connect(server)
    context.defer(() => admin.close({ timeoutMs: 0 }))
    for (const name of ['beats', 'load']) await admin.topics.create(name, { partitions: 16 })
    const small = LoadProcess.start<HeartbeatCalls>(context, 'heartbeats', heartbeatScript)
    await small.call('start', {
      address: { host, port },
      topic: 'beats',
      group: 'beats',
      members,
      sessionTimeoutMs,
      everyMs: 100,
    })
    const memory = new MemoryWatch(context, pid)
    await sleep(500)
    const base = memory.peak
    await small.call('figures')

    const fault = await injectSyscallFault(context, pid, { calls: syncCalls, delayMs: size.delayMs })
    const load = LoadProcess.start<PublisherCalls>(context, 'publishers', publisherScript)
    const { publishers, valueBytes, inFlight, bytesMax } = size
    await load.call('start', { server, topic: 'load', publishers, valueBytes, inFlight, bytesMax })
    await sleep(size.ms)
    const ackedBytes = await load.call('ackedBytes')
    const { heartbeatMs, statusMs } = await small.call('figures')
    const { peak } = memory
    const delayed = await fault.count()
    await fault.detach()
    const result = await load.call('stop')
    const grownBytes = peak.anonBytes - base.anonBytes

    findings.expect(
      grownBytes < growthBytesMax,
      'memory-cap',
      () =>
        `the broker took ${Math.round(grownBytes / mib)} MiB more, at most ${growthBytesMax / mib} are expected`,
    )
    findings.addAll('publish-failed', result.wrongErrors)
    findings.addAll('evicted', await small.call('stop'))
    for (const [name, values] of Object.entries({ heartbeats: heartbeatMs, status: statusMs })) {
      const p99 = percentile(values, 0.99)
      findings.expect(
        values.length > 0 && (context.short || p99 < smallRequestMsMax),
        'slow-small-request',
        () =>
          `p99 of ${values.length} ${name}: ${p99.toFixed(0)} ms, under ${smallRequestMsMax} are expected`,
      )
    }
    findings.expect(
      ackedBytes > 0,
      'publishing-stopped',
      () => 'nothing was acknowledged while syncs were slow',
    )
    findings.addAll('lost', await load.call('readBack'))
    context.log(
      `${(ackedBytes / 1e6 / (size.ms / 1_000)).toFixed(1)} MB/s acknowledged, ${Math.round(grownBytes / mib)} MiB more; heartbeat p99 ${percentile(heartbeatMs, 0.99).toFixed(0)} ms, status p99 ${percentile(statusMs, 0.99).toFixed(0)} ms, acknowledgement p99 ${percentile(result.ackMs, 0.99).toFixed(0)} ms`,
    )
    return {
      operations: result.acked * 2 + heartbeatMs.length + statusMs.length,
      faults: { 'delayed syncs': delayed },
      findings: findings.list,
      samples: {
        'heartbeat ms': heartbeatMs,
        'status ms': statusMs,
        'acknowledgement ms': result.ackMs,
        'broker growth MiB': [grownBytes / mib],
      },
    }
  },
}

const heartbeatScript = new URL('../load/heartbeat_process.js', import.meta.url)
const publisherScript = new URL('../load/publisher_process.js', import.meta.url)
