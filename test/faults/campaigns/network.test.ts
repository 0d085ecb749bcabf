import { testShortCampaign } from '../short_campaign.js'
import { network } from './network.js'

testShortCampaign(network)
