import { testShortCampaign } from '../short_campaign.js'
import { stalledConsumers } from './stalled_consumers.js'

testShortCampaign(stalledConsumers)
