/**
 * A program of a test whose worker is on a topic that does not exist. It handles no rejection.
 *
 *     node unknown_topic_worker.js SERVER
 */
import { connect } from '../../client/index.js'

const client = await connect({ servers: process.argv[2] ?? '' })
client.work('nowhere', { group: 'crew' }, () => {})
