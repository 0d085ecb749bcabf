import {
  type commands,
  limits,
  MillraceError,
  protocolVersion,
  protocolVersionMin,
} from '../../protocol/index.js'
import { brokerStatus } from '../status.js'
import { brokerVersion } from '../version.js'
import type { Handler } from './handler.js'

const hello: Handler<typeof commands.hello> = ({ broker, session }, request) => {
  if (session.isReady) throw new MillraceError('BAD_REQUEST', 'this connection has already sent hello')
  const { versionMin, versionMax } = request
  const version = Math.min(versionMax, protocolVersion)
  if (versionMin > versionMax || version < Math.max(versionMin, protocolVersionMin)) {
    throw new MillraceError(
      'UNSUPPORTED_VERSION',
      `the client supports protocol versions ${versionMin} to ${versionMax}, this broker supports ${protocolVersionMin} to ${protocolVersion}`,
    )
  }
  if (request.connection !== undefined) broker.server.lanes.enter(session, request.connection)
  session.greeted(request.clientName, request.clientVersion)
  const { settings } = broker
  return {
    body: {
      version,
      brokerId: settings.brokerId,
      brokerVersion,
      limits: {
        frameBytesMax: settings.frameBytesMax,
        batchBytesMax: settings.batchBytesMax,
        inFlightRequestsMax: settings.inFlightRequestsMax,
        fetchWaitMsMax: limits.fetchWaitMsMax,
        sessionTimeoutMsMin: limits.sessionTimeoutMsMin,
        sessionTimeoutMsMax: limits.sessionTimeoutMsMax,
      },
    },
  }
}

const ping: Handler<typeof commands.ping> = () => ({ body: {} })

const status: Handler<typeof commands.status> = async ({ broker }) => ({ body: await brokerStatus(broker) })

export const connectionHandlers = { hello, ping, status }
