import { once } from 'node:events'
import { connect } from 'node:net'
import { LatencyHistogram } from '../lib/latency.js'
import { serveWorker, type WorkerTask } from '../lib/worker.js'
import { BatchReader, headerBytes, lengthBytes, type PipeBatch, roles } from './batch.js'

export interface PipeConsumerOptions {
  readonly port: number
  /** Measures latencies from the intended time at the beginning of every value; `stop` resolves to them. */
  readonly latency: boolean
  /** Latencies are not counted for this long after the first message. */
  readonly warmUpMs: number
}

/** Receives batches and makes a value of every message in them. */
async function start({ port, latency, warmUpMs }: PipeConsumerOptions): Promise<WorkerTask> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  socket.write(Uint8Array.of(roles.consumer))
  let messages = 0
  let bytes = 0
  const histogram = new LatencyHistogram()
  const receive = ({ frame }: PipeBatch): void => {
    if (latency && messages === 0) setTimeout(() => histogram.reset(), warmUpMs)
    for (let at = headerBytes; at < frame.length; ) {
      const valueBytes = frame.readUInt32LE(at)
      const value = frame.subarray(at + lengthBytes, at + lengthBytes + valueBytes)
      at += lengthBytes + valueBytes
      messages++
      bytes += value.length
      if (latency) histogram.recordSince(value.readDoubleLE())
    }
  }
  const reader = new BatchReader(receive)
  socket.on('data', (chunk: Buffer) => reader.push(chunk))
  return {
    count: () => ({ messages, bytes }),
    stop: async () => {
      socket.destroy()
      return histogram.figures()
    },
  }
}

await serveWorker(start)
